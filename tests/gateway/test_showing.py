"""What is wrong, what was counted, and that the store's screens learn of no person."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from analytics.rows import Output, ReceiverHealth, TagFlag
from gateway.events import EventFinder
from gateway.live import LiveHub, LivePicture
from gateway.metrics import exposition
from gateway.result_store import ResultStore, Step
from gateway.showing import Showing, store_object
from ingest.tag_table import TagTable
from tests.analytics.two_floors import two_floors, without_floors
from tests.gateway.rows import visit
from tests.gateway.samples import ANNA, STORE, T0


@pytest.fixture
def service(tmp_path):
    results = ResultStore(tmp_path / "results.sqlite")
    yield SimpleNamespace(
        store=STORE,
        results=results,
        journal=SimpleNamespace(totals=dict),
        driver=SimpleNamespace(
            counts=SimpleNamespace(late={}, dropped=Counter(), unknown={}),
            closed_ns=T0,
            staff_tags_seen=2,
            refused_tags=7,
        ),
        settings=SimpleNamespace(influxdb=None),
        agents=SimpleNamespace(silent=list, summary=dict),
        finder=EventFinder(STORE, queue_long=5),
        picture=LivePicture(STORE),
        hub=LiveHub(),
        subscriber=SimpleNamespace(is_connected=True, outage_count=0),
        gate=SimpleNamespace(denied=0),
        influx=None,
        clocks=None,
        committer=SimpleNamespace(dropped=Counter()),
        webhooks=SimpleNamespace(summary=dict, metrics=list),
        is_replaying=False,
    )
    results.close()


def find_faults(service):
    row = ReceiverHealth(
        receiver="rx-2", state="deaf", since_ns=T0 - 5, offset_db=None, reason="heard too little"
    )
    flags = [
        TagFlag(kind=kind, t_ns=T0, tag=ANNA, zones=("shoes", "promo"))
        for kind in ("cloned", "teleported")
    ]
    service.finder.find(Output(receiver_health=[row], tag_flags=flags))


def test_faults_of_receivers_and_cloned_tags_are_alarms_without_a_person(service):
    showing = Showing(service)
    assert [] == showing.alarms()
    find_faults(service)
    message = service.picture.message(showing.alarms(), [])
    told = json.loads(showing.live_for_mqtt(message))
    assert [
        {"type": "receiver.fault", "subject": "rx-2", "receiver": "rx-2", "state": "deaf",
         "since_ns": T0 - 5, "offset_db": None, "reason": "heard too little"},
        {"type": "tag.cloned", "subject": "shoes", "zones": ["shoes", "promo"], "t_ns": T0},
    ] == told["alarms"]  # fmt: skip
    service.driver.closed_ns = T0 + 600 * 10**9
    assert ["receiver.fault"] == [alarm["type"] for alarm in showing.alarms()]


def test_faults_are_metrics(service):
    showing = Showing(service)
    text = exposition(showing.metrics()).decode()
    assert 'fanous_receiver_faults{state="deaf"} 0\n' in text
    assert 'fanous_tag_flags_total{kind="cloned"} 0\n' in text
    find_faults(service)
    text = exposition(showing.metrics()).decode()
    assert 'fanous_receiver_faults{state="deaf"} 1\n' in text
    assert 'fanous_receiver_faults{state="moved"} 0\n' in text
    for kind in ("cloned", "teleported"):
        assert f'fanous_tag_flags_total{{kind="{kind}"}} 1\n' in text
    assert "fanous_tags_refused_total 7\n" in text


def test_summary_says_what_became_of_visits(service):
    output = Output(visits=[visit("v1", T0)])
    service.results.save(output, Step(journal_id=1, watermark_ns=T0), pass_bys=4)
    summary = Showing(service).summary()
    names = ["visits", "pass_bys", "bounces", "engaged_visits", "staff_tags_seen", "refused_tags"]
    assert [1, 4, 0, 1, 2, 7] == [summary[name] for name in names]


def test_the_plan_names_floors_and_what_joins_them():
    store = two_floors()
    plan = json.loads(json.dumps(store_object(store)))
    assert ["0", "1"] == [floor["id"] for floor in plan["floors"]]
    assert [0.0, 4.5] == [floor["level_m"] for floor in plan["floors"]]
    assert [[16.0, 8.0]] * 2 == [floor["outline_m"][2] for floor in plan["floors"]]
    (stairs,) = plan["connections"]
    assert ("stairs-1", "stairs", ["0", "1"]) == (
        stairs["id"], stairs["kind"], [end["floor"] for end in stairs["ends"]]
    )  # fmt: skip
    for name in ("zones", "receivers"):
        assert ["0", "1"] == sorted({thing["floor"] for thing in plan[name]})
    assert len(plan["obstacles"]) == len(plan["obstacle_floors"])


@pytest.mark.parametrize("several", [True, False])
def test_a_tag_on_the_page_has_a_floor_where_there_are_several(several):
    store = two_floors() if several else without_floors(two_floors())
    tags = TagTable()
    live = SimpleNamespace(
        t_ns=T0, tag=tags.ids([ANNA], T0), zone=np.array([0]), zone_p=np.array([0.9]),
        x_m=np.ones(1), y_m=np.ones(1), sigma_m=np.ones(1), people={}, queues={},
        floor=np.array([int(several)], np.uint8),
    )  # fmt: skip
    picture = LivePicture(store)
    picture.update(live, tags)
    (tag,) = picture.message([], [])["tags"]
    assert {"tag", "zone", "zone_p", "x_m", "y_m", "sigma_m"} == set(tag) - {"floor"}
    assert ("1" if several else None) == tag.get("floor")
