"""What was asked: typed values for Pod manifests and OCI configurations, and the strict readers that make them.

========================  =============================================================================
module                    holds
========================  =============================================================================
:mod:`.parse`             bytes → JSON or YAML document; the :class:`~pyrun.spec.parse.Reader` over a document
:mod:`.quantity`          Kubernetes resource quantities, exactly
:mod:`.pod`               the values of a Pod (:class:`~pyrun.spec.pod.PodSpec`)
:mod:`.pod_parse`         document → PodSpec: ``parse_pod``, ``load_pod``
:mod:`.expand`            ``$(VAR)`` in command, args and env
:mod:`.qos`               QoS class and effective requests
:mod:`.image`             image references
:mod:`.kubernetes`        every field name that Kubernetes knows, as data
:mod:`.oci`               the values of an OCI runtime configuration (:class:`~pyrun.spec.oci.OciSpec`)
:mod:`.oci_parse`         document ↔ OciSpec: ``parse_oci``, ``oci_to_json``; its parts are ``oci_process_parse``,
                          ``oci_linux_parse`` and ``oci_resources_parse``, its machinery ``oci_table`` and ``oci_check``
========================  =============================================================================

Nothing here touches the kernel, and the only import from pyrun is ``value`` and ``errors``. Importing the package
imports none of the modules: each caller pays for what it uses.
"""
