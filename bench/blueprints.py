"""The blueprint the benchmarks render: containers, units and files with expressions, and its instances."""


def blueprint_of(resources: int) -> str:
    """Return a Blueprint of so many resources: a tenth Deployments, a tenth units, the rest files."""
    entries = []
    for number in range(resources):
        head = (
            f"    - id: r{number}\n      template:\n        metadata: {{name: '${{schema.metadata.name}}-{number}'}}\n"
        )
        if number % 10 == 0:
            entries.append(
                f"{head}        apiVersion: apps/v1\n        kind: Deployment\n        spec:\n"
                "          replicas: ${schema.spec.replicas}\n          template:\n            spec:\n"
                "              containers:\n                - name: main\n                  image: ${schema.spec.image}\n"
                "                  env:\n                    - {name: LEVEL, value: '${string(schema.spec.level * 2)}'}\n"
            )
        elif number % 10 == 1:
            entries.append(
                f"{head}        apiVersion: holdfast.io/v1alpha1\n        kind: SystemdService\n        spec:\n"
                "          unit: |\n            [Service]\n            ExecStart=/bin/run ${schema.spec.image}\n"
            )
        else:
            entries.append(
                f"{head}        apiVersion: holdfast.io/v1alpha1\n        kind: File\n        spec:\n"
                f"          path: /srv/${{schema.metadata.name}}/f{number}\n"
                "          content: 'level = ${string(schema.spec.level)}, image = ${schema.spec.image}'\n"
            )
    return (
        "apiVersion: holdfast.io/v1alpha1\nkind: Blueprint\nmetadata: {name: bench}\nspec:\n  schema:\n"
        '    apiVersion: v1alpha1\n    kind: Bench\n    spec:\n      image: string | default="busybox:1"\n'
        "      replicas: integer | default=2\n      level: integer | default=1\n  resources:\n" + "".join(entries)
    )


def instance_of(name: str, level: int, selector: str = "{}") -> str:
    """Return an instance placed by a label selector in YAML's flow form."""
    return (
        f"apiVersion: v1alpha1\nkind: Bench\nmetadata: {{name: {name}}}\nspec:\n  level: {level}\n"
        f"  placement: {{labelSelector: {selector}}}\n"
    )
