from __future__ import annotations

from dojo.demo.fleet import FleetAct, shares, told


def entry(source: str, *models: str) -> dict[str, object]:
    return {"source": source, "models": list(models)}


ENTRIES = [
    entry("lake: transactions", "fraud", "banner"),
    entry("lake: transactions, outcomes of fraud", "fraud"),
    entry("stream: transactions", "fraud"),
    entry("lake: banners, outcomes of banner", "banner"),
    entry("lake: orders, outcomes of returns", "returns"),
    entry("request: amount, transaction_time; stored features", "fraud"),
]


def test_a_model_shares_what_is_computed_from_payments() -> None:
    assert shares(ENTRIES) == {"banner": 1, "fraud": 3, "returns": 0}


def test_each_model_is_told_with_what_it_reads_and_what_was_noticed() -> None:
    act = FleetAct(
        champions={},
        shares=shares(ENTRIES),
        noticed={"fraud": "input_drift of version 1: amount"},
        before=(),
        after=(),
    )
    assert told(act) == [
        "fraud: 3 inputs computed from payments; input_drift of version 1: amount",
        "banner: 1 input computed from payments; no trouble noticed",
        "returns: no inputs computed from payments; no trouble noticed",
    ]
