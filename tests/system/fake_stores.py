"""Stores that the fake gateway plays, as `/api/v1/store` gives them: one usual, the rest odd."""

from typing import Any


def _box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def demo_store() -> dict[str, Any]:
    """Give a shop of 20 by 15 m with everything the page can draw."""
    zones = [
        ("entrance", "Entrance", "entrance", _box(0, 0, 5, 4)),
        ("promo", "Promotions", "promo", _box(5, 0, 12, 4)),
        ("tills", "Tills", "checkout", _box(12, 0, 16, 4)),
        ("exit", "Exit", "exit", _box(16, 0, 20, 4)),
        ("shoes", "Shoes", "aisle", _box(0, 4, 6, 15)),
        ("sport", "Sport & outdoor", "aisle", _box(6, 4, 13, 10)),
        ("kids", "Kids", "aisle", _box(6, 10, 13, 15)),
        ("fitting", "Fitting rooms", "fitting", _box(16, 10, 20, 15)),
        (
            "jackets",
            "Jackets",
            "aisle",
            [[13, 4], [20, 4], [20, 10], [16, 10], [16, 15], [13, 15]],
        ),
    ]
    shelves = [
        ("shoes-1", "shoes", [0.3, 5.5, 1.0, 9.5], "Runner 42"),
        ("shoes-2", "shoes", [0.3, 10.2, 1.0, 14.2], "Trail 41"),
        ("shoes-3", "shoes", [3.4, 9.2, 4.1, 13.8], "Sandal 40"),
        ("sport-1", "sport", [7.2, 8.7, 11.8, 9.4], "Bottle 1 l"),
        ("kids-1", "kids", [7.2, 14.1, 11.8, 14.7], "Rain cape"),
        ("jackets-1", "jackets", [19.0, 4.6, 19.7, 9.4], "Down jacket"),
        ("jackets-2", "jackets", [14.4, 5.6, 16.9, 6.4], "Fleece"),
        ("promo-1", "promo", [7.0, 1.2, 8.6, 2.0], "Cap"),
    ]
    places = [(x, y) for x in (0.4, 6.6, 13.2, 19.6) for y in (0.4, 7.4, 14.6)]
    return {
        "id": "demo",
        "name": "Demo store",
        "timezone": "Europe/Berlin",
        "outline_m": _box(0, 0, 20, 15),
        "obstacles": [_box(5.9, 10.6, 6.1, 15), _box(15.9, 10, 16.1, 13.4), _box(12, 1.4, 12.2, 4)],
        "zones": [
            {"id": i, "name": n, "kind": k, "layer": "main", "polygon_m": p} for i, n, k, p in zones
        ]
        + [
            {
                "id": "queue",
                "name": "Queue",
                "kind": "queue",
                "layer": "queues",
                "polygon_m": _box(12.4, 2.0, 15.8, 3.7),
            }
        ],
        "receivers": [
            {"id": f"rx-{n}", "position_m": [x, y, 2.4], "agent": f"pi-{1 + n % 2}"}
            for n, (x, y) in enumerate(places, start=1)
        ],
        "shelves": [
            {
                "id": i,
                "zone": z,
                "rect_m": r,
                "products": [{"gtin": f"0401234567{n:04d}", "name": name, "unit_g": 640.0}],
            }
            for n, (i, z, r, name) in enumerate(shelves)
        ],
        "tap_points": [
            {"id": "gate-1", "zone": "entrance", "role": "entry"},
            {"id": "gate-2", "zone": "exit", "role": "exit"},
            {"id": "till-1", "zone": "tills", "role": "payment"},
        ],
    }


def bare_store() -> dict[str, Any]:
    """Give a store without zones and without an outline: receivers only."""
    return {
        "id": "bare",
        "name": "",
        "timezone": "Not/AZone",
        "outline_m": None,
        "obstacles": [],
        "zones": [],
        "receivers": [{"id": "rx-1", "position_m": [3.0, 4.0, 2.0], "agent": None}],
        "shelves": [],
        "tap_points": [],
    }


def scaled_store(factor: float) -> dict[str, Any]:
    """Give the demo store as large or small as asked."""
    store = demo_store()
    grow = lambda points: [[x * factor, y * factor] for x, y in points]  # noqa: E731
    store["outline_m"] = grow(store["outline_m"])
    store["obstacles"] = [grow(polygon) for polygon in store["obstacles"]]
    for zone in store["zones"]:
        zone["polygon_m"] = grow(zone["polygon_m"])
    for shelf in store["shelves"]:
        shelf["rect_m"] = [value * factor for value in shelf["rect_m"]]
    for receiver in store["receivers"]:
        x, y, z = receiver["position_m"]
        receiver["position_m"] = [x * factor, y * factor, z]
    return store


def hostile_store() -> dict[str, Any]:
    """Give a store whose texts try to be markup, with shapes that are broken."""
    store = demo_store()
    store["name"] = "<img src=x onerror=alert(1)>"
    store["zones"][4]["name"] = "</title><script>document.body.dataset.owned = 1</script>"
    store["zones"][5]["polygon_m"] = [[None, 1], [2, 2]]
    store["zones"][6]["kind"] = "never heard of"
    store["shelves"][0]["rect_m"] = None
    store["shelves"][1]["products"] = []
    store["tap_points"].append({"id": "lost", "zone": "nowhere", "role": "info"})
    return store
