import pytest

from qat8.containers import hosts
from qat8.containers.hosts import Host
from qat8.errors import DataError, UsageError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hosts.toml"
    path.write_text('[clx1]\nurl = "ssh://user@clx1"\ncpus = "0-23"\n[clx2]\nurl = "tcp://clx2:2376"\n')
    return path


def test_names_become_hosts_in_their_order(file):
    found = hosts.select("clx2, clx1", file)
    assert list(found) == ["clx2", "clx1"]
    assert found["clx1"] == Host(url="ssh://user@clx1", cpus="0-23")


@pytest.mark.parametrize("names", ["clx1,clx1", "clx1,", "", "../clx1", "a/b", "-x"])
def test_a_list_of_names_that_is_none(file, names):
    with pytest.raises(UsageError, match="names of letters, digits, dot and dash, by comma, each once"):
        hosts.select(names, file)


def test_an_unknown_name_tells_the_known_ones(file):
    with pytest.raises(UsageError, match=r"no host 'clx3'.*clx1, clx2.*Docker context"):
        hosts.select("clx3", file)


@pytest.mark.parametrize(
    "text, where",
    [
        ('[a]\nurl = "http://a"\n', "a.url"),
        ('[a]\nurl = "ssh://a"\nspeed = 1\n', "a.speed"),
        ("[a]\n", "a.url"),
        ("url = ", "hosts.toml: "),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, text, where):
    path = tmp_path / "hosts.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=where):
        hosts.select("a", path)
