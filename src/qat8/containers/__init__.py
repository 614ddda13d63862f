"""Docker and what is like it.

images      docker/images.toml: every pin            build       BuildKit, base image, labels of a current image
engine      the connection, its errors               upstream    where a source build gets its source from
container   one container's life and its limits      contents    SBOM, and the files in which two images differ
mounts      which paths of the host a stage sees     leftovers   what killed runs left
topology    CPUs and NUMA nodes of the host          hosts, shipping, fleet    many servers
kubernetes  a Job's manifest                         tunnel      an engine's socket through ssh
"""
