"""The scenarios: what `fanous simulate --list` names, as a literal table.

Rules of the file: a scenario says how many come and how the radio and the shelves
behave; the store file says where. Every figure has its unit in its name.
"""

from dataclasses import dataclass, field

from ingest.config import ConfigError, nearest
from simulators.plates import PlateNoise
from simulators.radio import Air


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of day.

    Attributes
    ----------
    line : what it is, in one line
    shoppers_per_min : mean of the Poisson arrivals
    minutes : length unless the command says another
    head_start : how many of them come within the first half minute
    people_max : people that fit in; later ones turn away
    sample_hz : samples per shelf sensor and second, at a fixed rate
    survey_walk : nobody shops; one tag walks a grid, and a survey can be taken
    """

    line: str
    shoppers_per_min: float = 0.0
    minutes: float = 10.0
    head_start: int = 0
    people_max: int = 128
    sample_hz: float = 5.0
    survey_walk: bool = False
    air: Air = field(default_factory=Air)
    noise: PlateNoise = field(default_factory=PlateNoise)


SCENARIOS: dict[str, Scenario] = {
    "demo": Scenario(
        line="a lively shop: about 15 people at once, all four kinds of shopper",
        shoppers_per_min=6.0, minutes=10.0, head_start=8,
    ),
    "quiet": Scenario(
        line="a slow morning: about two people at once",
        shoppers_per_min=0.7, minutes=20.0, head_start=1,
    ),
    "busy": Scenario(
        line="a Saturday: about 35 people at once, a queue at the tills, more packets lost",
        shoppers_per_min=10.0, minutes=10.0, head_start=15, people_max=256,
        air=Air(loss_p=0.25),
    ),
    "walk": Scenario(
        line="one tag walks every corner of the floor; also takes a survey on a 1 m grid",
        minutes=6.0, people_max=1, survey_walk=True, air=Air(advert_s=0.25),
    ),
}  # fmt: skip


def find_scenario(name: str) -> Scenario:
    """Return a scenario by its name.

    Parameters
    ----------
    name : a key of `SCENARIOS`

    Raises
    ------
    ConfigError
        There is none of that name; the message gives the nearest.
    """
    if name not in SCENARIOS:
        hint = nearest(name, list(SCENARIOS))
        raise ConfigError(f"scenario '{name}': there is none of that name{hint}")
    return SCENARIOS[name]
