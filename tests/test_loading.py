"""From a file into a live model: what the file holds, undone to the bit, shared safely."""

import nets
import numpy as np
import pytest

from tfreuse import checkpoints, models, transplant
from tfreuse import plan as plan_module
from tfreuse.errors import InputError
from tfreuse.transplant import loading


def unet(seed):
    return nets.scrambled(models.unet((16, 16), num_classes=3, width=4, depth=2), seed)


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    model = unet(1)
    folder = tmp_path_factory.mktemp("donor")
    model.save(folder / "donor.keras")
    model.save_weights(folder / "donor.weights.h5")
    return model, folder


@pytest.mark.parametrize("name", ["donor.keras", "donor.weights.h5"])
@pytest.mark.parametrize("roles", ["all", "stats", "kernel"])
def test_a_file_moves_what_its_live_model_would(donor, name, roles):
    model, folder = donor
    one, other = unet(2), unet(2)
    before = nets.snapshot(one)
    displaced = loading.load(folder / name, one, roles=roles)
    transplant.apply(transplant.plan(model, other, roles=roles), model, other)
    assert nets.snapshot(one) == nets.snapshot(other) != before
    transplant.undo(displaced, one)
    assert nets.snapshot(one) == before


def test_what_changes_after_a_load_is_the_recipient_alone(donor):
    model, folder = donor
    recipient = unet(2)
    before = nets.snapshot(recipient)
    with checkpoints.open(folder / "donor.keras") as file:
        plan = plan_module.make(file.variables, transplant.index(recipient))
        values = loading.values(file, [entry.donor for entry in plan.copies])
    displaced = transplant.apply(plan, values, recipient)
    read = {path: np.array(value) for path, value in values.items()}
    for variable in recipient.weights:  # as an optimizer does: in place
        variable.value.assign_add(np.ones(variable.shape, "float32"))
    for ours, theirs in zip(recipient.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value.numpy() + np.float32(1))
    for path, value in values.items():  # memory is shared only until someone writes
        np.testing.assert_array_equal(value, read[path])
    transplant.undo(displaced, recipient)
    assert nets.snapshot(recipient) == before


def test_a_file_that_does_not_fit_leaves_the_model_as_it_was(donor):
    recipient = models.unet((16, 16), num_classes=5, width=4, depth=2)
    before = nets.snapshot(recipient)
    with pytest.raises(InputError, match="cannot be moved"):
        loading.load(donor[1] / "donor.keras", recipient)
    assert nets.snapshot(recipient) == before


def test_an_adapter_works_on_what_was_read(donor):
    model, folder = donor
    recipient = unet(2)
    old = nets.arrays(recipient)
    loading.load(folder / "donor.keras", recipient, adapters=["*=blend:0.25"])
    new, theirs = nets.arrays(recipient), nets.arrays(model)
    for path, value in new.items():
        blend = 0.75 * old[path] + 0.25 * theirs[path]
        np.testing.assert_allclose(value, blend, rtol=1e-6)


def test_memory_is_aligned_disjoint_and_taken_in_blocks(
    monkeypatch,
):
    monkeypatch.setattr(loading, "_BLOCK", 1000)
    sizes = [1, 64, 65, 900, 3000, 7]
    places = loading._buffers(sizes)
    assert [place.size for place in places] == sizes
    starts = [place.ctypes.data for place in places]
    assert not any(start % 64 for start in starts)  # or TensorFlow copies
    for number, place in enumerate(places):
        place[:] = number
    assert all((place == number).all() for number, place in enumerate(places))
    blocks = {id(place.base) for place in places}
    assert len(blocks) == 4  # 1 + 64 + 65, 900, 3000, 7
