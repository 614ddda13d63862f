import kubernetes_validate
import pytest
import yaml

from qat8.stages import k8s_manifest


@pytest.fixture
def manifest(ends, tmp_path):
    def call(*argv):
        path = tmp_path / "job.yaml"
        done = ends(k8s_manifest.main, "--image=registry/qat8:1", f"--output={path}", *argv)
        assert done.code == 0, done.err
        return yaml.safe_load(path.read_text())

    return call


def test_the_pod_is_guaranteed_and_has_whole_cpus(manifest):
    pod = manifest("--cpus=6", "--memory=16Gi")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"] == {"cpu": "6", "memory": "16Gi"}
    assert {"name": "OMP_NUM_THREADS", "value": "6"} in container["env"]
    assert pod["nodeSelector"] == {k8s_manifest.VNNI: "true"}


def test_the_containers_rights_are_those_of_the_docker_runtime(manifest):
    pod = manifest()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert pod["containers"][0]["securityContext"] == {
        "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_other_flags_are_the_benchmarks(manifest):
    pod = manifest("--models=MobileNetV1", "--any-node")["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][-2:] == ["qat8.stages.benchmark", "--models=MobileNetV1"]
    assert "nodeSelector" not in pod


@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_the_manifest_fits_the_schema_of_kubernetes(manifest, version):
    kubernetes_validate.validate({**manifest(), "metadata": {"name": "x"}}, version, strict=True)


def test_the_schema_refuses_what_kubernetes_does_not_know(manifest):
    wrong = manifest()
    wrong["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="resource"):
        kubernetes_validate.validate(wrong, "1.28", strict=True)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--memory=lots", "--image=x"], ["--memory 'lots'"]),
        (["--cpus=0", "--image=x"], ["--cpus"]),
        (["--claim=No", "--image=x"], ["--claim 'No'"]),
        ([], ["--image"]),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(refused, argv, words):
    refused(k8s_manifest.main, 2, words, *argv)
