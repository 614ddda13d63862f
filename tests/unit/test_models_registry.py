"""The models by name."""

import pytest

from qat8.errors import UsageError
from qat8.imaging import IMAGENET, SYMMETRIC
from qat8.models import registry


@pytest.mark.parametrize("spelling", ["MobileNetV1", "mobilenetv1", "MobileNet-V1", "mobilenet_v1", "MOBILENET-V1"])
def test_a_model_goes_by_any_spelling_of_its_name(spelling):
    assert registry.get(spelling).name == "MobileNetV1"


@pytest.mark.parametrize("name", ["AlexNet", "", "MobileNet", "ResNet50 ", "ResNet-5"])
def test_an_unknown_name_is_refused_and_names_the_known_ones(name):
    with pytest.raises(UsageError) as failure:
        registry.get(name)
    assert repr(name) in str(failure.value) and ", ".join(registry.MODELS) in str(failure.value)


def test_the_tutorials_six_models_are_there_with_the_input_that_they_were_trained_on():
    inputs = {name: row.preprocessing for name, row in registry.MODELS.items()}
    paddles = dict.fromkeys(("MobileNetV2", "ResNet50", "ResNet101", "VGG16", "VGG19"), IMAGENET)
    assert inputs == {"MobileNetV1": SYMMETRIC, **paddles}


def test_only_the_model_whose_weights_ship_in_a_package_promises_them():
    assert [name for name, row in registry.MODELS.items() if row.embedded_weights] == ["MobileNetV1"]
