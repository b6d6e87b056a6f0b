"""``pyrun-oci``: the command line of an OCI runtime, as crun and runc have it. One file per verb."""
