from __future__ import annotations

from crackedge.edge_runtime.scan.coverage import Coverage, GiveUp, worth_marking


def test_what_is_given_up_is_named_in_order() -> None:
    assert Coverage(1.0, 0.0, 0.0, 1.0).gave_up == ()
    assert Coverage(0.2, 0.8, 0.3, 0.3, give_up=GiveUp.BANDS).gave_up == ("marking", "bands")
    assert Coverage(0.2, 0.8, 0.3, 0.3, give_up=GiveUp.LATENCY).gave_up == ("marking", "bands", "scale", "latency")


def test_a_frame_scanned_as_a_whole_has_nothing_to_report() -> None:
    assert Coverage(1.0, 0.0, 0.0, 1.0, loss=0.01, rejected="cut").complete
    assert not Coverage(1.0, 0.0, 0.0, 1.0, give_up=GiveUp.MARKING).complete
    assert not Coverage(1.0, 0.0, 0.0, 0.25, scale=0.5).complete
    assert not Coverage(0.9, 0.1, 0.1, 1.0).complete


def test_marking_is_thinned_out_where_it_is_given_up() -> None:
    def marked(give_up: GiveUp) -> list[int]:
        coverage = Coverage(0.5, 0.5, 0.1, 0.6, give_up=give_up)
        return [index for index in range(8) if worth_marking(coverage, index)]

    assert all(worth_marking(None, index) for index in range(8))
    assert marked(GiveUp.NOTHING) == list(range(8))
    assert marked(GiveUp.MARKING) == [0, 2, 4, 6]
    assert marked(GiveUp.BANDS) == marked(GiveUp.LATENCY) == [0, 4]
