import pytest

from qat8 import tutorial

ROWS = [(server.short, name) for server in tutorial.SERVERS for name in tutorial.NAMES.values()]


def _server(short):
    return next(server for server in tutorial.SERVERS if server.short == short)


def test_both_servers_have_all_six_models_in_both_tables():
    for table in (tutorial.ACCURACY, tutorial.PERFORMANCE):
        assert set(table) == set(tutorial.SERVERS)
        assert all(set(rows) == set(tutorial.NAMES.values()) for rows in table.values())


@pytest.mark.parametrize(("server", "name"), ROWS)
def test_the_ratio_is_int8_over_fp32_within_rounding(server, name):
    row = tutorial.PERFORMANCE[_server(server)][name]
    # Both speeds are rounded to 0.01, so is the ratio.
    least, most = (row.int8 - 0.005) / (row.fp32 + 0.005), (row.int8 + 0.005) / (row.fp32 - 0.005)
    assert least - 0.005 <= row.ratio <= most + 0.005


@pytest.mark.parametrize(("server", "name"), ROWS)
def test_the_differences_are_int8_minus_fp32_within_rounding(server, name):
    row = tutorial.ACCURACY[_server(server)][name]
    assert row.top1_diff == pytest.approx(row.int8_top1 - row.fp32_top1, abs=0.0151)
    assert row.top5_diff == pytest.approx(row.int8_top5 - row.fp32_top5, abs=0.0151)


def test_fp32_accuracy_does_not_depend_on_the_server():
    first, second = (tutorial.ACCURACY[server] for server in tutorial.SERVERS)
    for name in first:
        assert first[name].fp32_top1 == second[name].fp32_top1
        assert first[name].fp32_top5 == second[name].fp32_top5


def test_the_server_with_vnni_gains_more_on_every_model():
    for name in tutorial.NAMES.values():
        with_vnni, without = (tutorial.PERFORMANCE[server][name].ratio for server in tutorial.SERVERS)
        assert with_vnni > without


def test_our_names_lead_to_the_tutorials_rows():
    assert tutorial.performance("MobileNetV1")[tutorial.GOLD_6271].ratio == 2.83
    assert tutorial.accuracy("ResNet50")[tutorial.GOLD_6148].top1_diff == -0.08


def test_a_model_that_the_tutorial_does_not_have_has_no_rows():
    assert tutorial.performance("EfficientNetB0") == {}
    assert tutorial.accuracy("EfficientNetB0") == {}
