"""The study of `transplant check`: planted errors, and rates from measured curves."""

import keras
import numpy as np
import pytest
from nets import block

from benchmarks import check_power, planted


@pytest.fixture(scope="module")
def model():
    x = inputs = keras.Input((8, 8, 3))
    for name in "abcd":
        x = block(x, name, 6 if name == "a" else 4)
    model = keras.Model(inputs, x)
    draw = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("fault", planted.faults(), ids=lambda fault: fault.name)
def test_each_error_changes_the_model_until_the_block_ends(model, fault):
    images = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    before, outputs = model.get_weights(), model(images)
    with planted.planting(model):
        fault.plant(model, np.random.default_rng(0))
        assert abs(model(images) - outputs).numpy().max() > 1e-6
        same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
        assert fault.traced == all(same)  # an epsilon is no variable
    for value, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)
    np.testing.assert_array_equal(model(images), outputs)


def record(network, error, variances, domain="streets", own=True):
    columns = {"mean_shift": [0.0] * 3, "log_variance_ratio": variances}
    return {"network": network, "error": error, "domain": domain, "own": own} | columns


def test_rates_are_those_of_limits_from_other_families():
    """By hand: limits on own images are 1.2 times (first, median, rise of the variance)."""
    right = check_power.RIGHT
    records = [
        record("EfficientNet 0", right, [0.5, 0.5, 0.6]),
        record("EfficientNet 1", right, [0.5, 0.5, 1.0]),
        record("unet", right, [0.2, 0.3, 0.5]),
        record("EfficientNet 0", "swap", [0.2, 0.3, 0.5]),
        record("EfficientNet 1", "swap", [0.2, 0.3, 0.6]),  # 0.3 above 0.24
        record("unet", "swap", [0.2, 0.5, 1.2]),  # 0.7 above 0.6
        record("unet", right, [2.0, 2.0, 2.0], "noise", own=False),
        record("unet", "input: 0..1", [2.0, 0.3, 0.3]),
    ]
    summary = check_power.summary(records)
    assert summary["own"]["limits"] == pytest.approx(
        {"first": 0.6, "median": 0.6, "mean rise": 0, "variance rise": 0.6}
    )
    assert summary["any"]["limits"]["first"] == pytest.approx(2.4)
    rows = {row["error"]: row for row in summary["own"]["rows"]}
    assert (rows[right]["found"], rows[right]["n"]) == (2, 3)  # both above unet's
    assert rows[right]["by_network"]["unet"] == 0
    assert (rows["swap"]["found"], rows["swap"]["n"]) == (2, 3)
    assert rows["swap"]["by_indicator"]["variance rise"] == 2
    assert rows["input: 0..1"]["by_indicator"][check_power.PIXELS] == 1
    (streets,) = (r for r in summary["own"]["pixels"] if r["domain"] == "streets")
    assert (streets["right"], streets["wrong"], streets["n"]) == (1, 0, 1)
    assert "| swap | 2 of 3 |" in check_power.markdown(summary)


def test_the_interval_is_wilsons():
    """Of 7 in 10, Wilson 1927: 0.397 to 0.892."""
    assert check_power._wilson(7, 10) == pytest.approx((0.3968, 0.8922), abs=1e-4)
