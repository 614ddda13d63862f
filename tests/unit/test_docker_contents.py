"""The bill of materials, against CycloneDX's own schema; no engine is needed."""

import email.message
import json
from types import SimpleNamespace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from qat8.containers import contents

DEBIAN = "libgomp1\t12.2.0-14+deb12u1\tamd64\nlibstdc++6\t12.2.0-14+deb12u1\tamd64\nutil-linux\t1:2.38.1-5\tall\n"
PYTHON = [["paddlepaddle", "2.6.2", "Apache Software License"], ["Odd_Name", "1!2.0+local", ""],
          ["numpy", "1.26.4", "BSD 3-Clause"]]  # fmt: skip
COPYRIGHT = """libgomp1/copyright:/usr/share/common-licenses/GPL-3
libgomp1/copyright:/usr/share/common-licenses/GFDL-1.3
util-linux/copyright:License: GPL-2+
util-linux/copyright:License: LGPL-2.1+
util-linux/copyright:License: GPL-2+
util-linux/copyright:/usr/share/common-licenses/GPL-2
gone/copyright:License: none of ours
"""


@pytest.fixture
def bom(monkeypatch):
    said = {"dpkg-query": DEBIAN, "sh": COPYRIGHT, "python": json.dumps(PYTHON)}
    monkeypatch.setattr(contents, "output", lambda client, spec: (0, said[spec.command[0]], ""))
    image = SimpleNamespace(id="sha256:" + "a" * 64, labels={"qat8.base": "debian:x", "other": "1"})
    return contents.sbom(SimpleNamespace(images=SimpleNamespace(get=lambda tag: image)), "qat8:wheel")


def fault(document):
    return JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document))


def test_it_fits_the_schema_of_cyclonedx(bom):
    assert fault(bom) is None
    assert fault(bom | {"bomFormat": "Other"}) is not None
    assert fault(bom | {"components": [{"name": "no type"}]}) is not None


def test_every_package_has_a_version_and_a_package_url(bom):
    purls = {c["purl"]: c["version"] for c in bom["components"]}
    assert purls == {
        "pkg:deb/debian/libgomp1@12.2.0-14%2Bdeb12u1?arch=amd64": "12.2.0-14+deb12u1",
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64": "12.2.0-14+deb12u1",
        "pkg:deb/debian/util-linux@1:2.38.1-5?arch=all": "1:2.38.1-5",
        "pkg:pypi/paddlepaddle@2.6.2": "2.6.2",
        "pkg:pypi/odd-name@1%212.0%2Blocal": "1!2.0+local",
        "pkg:pypi/numpy@1.26.4": "1.26.4",
    }


def test_the_package_urls_are_those_of_the_reference_implementation(bom):
    for component in bom["components"]:
        assert PackageURL.from_string(component["purl"]).to_string() == component["purl"]


def test_debian_packages_have_the_licences_that_their_copyright_files_name_or_refer_to(bom):
    named = {c["name"]: [entry["license"]["name"] for entry in c.get("licenses", [])] for c in bom["components"]}
    assert named["util-linux"] == ["GPL-2+", "LGPL-2.1+"]
    assert named["libgomp1"] == ["GFDL-1.3", "GPL-3"]
    assert named["libstdc++6"] == ["in words: /usr/share/doc/libstdc++6/copyright"]


def test_a_python_package_tells_its_expression_before_its_classifiers_before_its_text():
    scope: dict = {}
    exec(contents.PYTHON_LIST.rpartition("found = ")[0], scope)
    data = email.message.Message()
    data["License"] = "BSD 3-Clause\nand a page of it"
    assert scope["licence"](data) == "BSD 3-Clause"
    data["Classifier"] = "License :: OSI Approved :: BSD License"
    data["Classifier"] = "Topic :: Scientific/Engineering"
    assert scope["licence"](data) == "BSD License"
    data["License-Expression"] = "BSD-3-Clause"
    assert scope["licence"](data) == "BSD-3-Clause"


def test_a_licence_and_the_images_labels_are_told(bom):
    [numpy] = [c for c in bom["components"] if c["name"] == "numpy"]
    assert numpy["licenses"] == [{"license": {"name": "BSD 3-Clause"}}]
    assert bom["metadata"]["component"]["properties"] == [{"name": "qat8.base", "value": "debian:x"}]
