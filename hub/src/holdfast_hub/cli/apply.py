"""apply, diff, render: from files to what the hub makes of them."""

from typing import Any

import click

from holdfast_hub.cli import exits, output, sources
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.spans import patience


@click.command()
@sources.files_option
@sources.recursive_option
@sources.plain_options
@click.option("--dry-run", is_flag=True, help="Check everything and say what would happen; change nothing.")
@click.option("--force", is_flag=True, help="Accept breaking changes of a blueprint's schema.")
@click.option("--wait", "waiting", is_flag=True, help="Wait until every site of what the files say has converged.")
@click.option("--timeout", type=patience, default="120", metavar="TIME", help="How long --wait waits (default 2m).")
@output.formatted()
@click.pass_obj
def apply(
    client: Client,
    names: tuple[str, ...],
    recursive: bool,
    name: str | None,
    selector: str | None,
    fields: str | None,
    dry_run: bool,
    force: bool,
    waiting: bool,
    timeout: float,
    form: str,
) -> int:
    """Create or change what the files describe: all of it, or nothing when one thing is wrong."""
    plain = sources.plain(name, selector, fields)
    body = {"files": sources.read(names, recursive), "plain": plain, "dry_run": dry_run, "force": force}
    answer = client.post("/v1/apply", body)
    _print_applied(answer, form, dry_run)
    if waiting and not dry_run:
        from holdfast_hub.cli.wait import wait_for

        return wait_for(client, "sites", _awaited(client, answer), "Converged", timeout)
    return exits.DONE


def _awaited(client: Client, answer: dict[str, Any]) -> list[str]:
    """Return the sites that get a new target, and those of instances that were as the files say already."""
    from holdfast_hub.cli.client import segment

    applied = {(result["kind"], result["name"]) for result in answer["results"]}
    sites = set(answer["sites"])
    for item in client.get("/v1/instances")["items"]:
        if (item["kind"], item["name"]) in applied:
            key = segment("/".join((item["kind"], item["name"])))
            found = client.get(f"/v1/instances/{key}")
            sites |= {each["site"] for each in found["site_states"]}
    return sorted(sites)


def _print_applied(answer: dict[str, Any], form: str, dry_run: bool) -> None:
    output.problems(answer.get("warnings", ()))
    if form in ("json", "yaml"):
        output.emit(answer, form)
        return
    for result in answer["results"]:
        name = f"{result['kind'].lower()}/{result['name']}"
        if form == "name":
            click.echo(name)
        else:
            revision = f" (revision {result['revision']})" if result.get("revision") else ""
            click.echo(f"{name} {result['action']}{revision}{' (dry run)' if dry_run else ''}")
    if form == "table":
        count = len(answer["sites"])
        sites = "1 site" if count == 1 else f"{count} sites"
        verb = "would get" if dry_run else "gets" if count == 1 else "get"
        output.say(f"{sites} {verb} a new target")
        for owner in answer["unplaced"]:
            where = f"`holdfast explain placement {owner} SITE` says why not"
            output.say(output.printable(f"note: no site is in the placement of {owner}: {where}"))


@click.command()
@sources.files_option
@sources.recursive_option
@sources.plain_options
@output.formatted("table", "json", "yaml")
@click.pass_obj
def diff(
    client: Client,
    names: tuple[str, ...],
    recursive: bool,
    name: str | None,
    selector: str | None,
    fields: str | None,
    form: str,
) -> int:
    """Show what applying the files would change, by groups of sites. Exit 0: nothing, 1: something, 2 and more: error."""
    body = {"files": sources.read(names, recursive), "plain": sources.plain(name, selector, fields)}
    answer = client.post("/v1/diff", body)
    _print_diff(answer, form)
    return exits.DONE if answer["same"] else exits.NEGATIVE


def _print_diff(answer: dict[str, Any], form: str) -> None:
    output.problems(answer.get("warnings", ()))
    if form in ("json", "yaml"):
        output.emit(answer, form)
        return
    for group in answer["groups"]:
        sites = group["sites"]
        click.echo(
            click.style(f"{len(sites)} site{'s' if len(sites) != 1 else ''}: {output.some(sites)}", bold=True),
            color=output.colourful(),
        )
        for line in group["diff"].splitlines():
            colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
            click.echo(click.style(output.printable(line), fg=colour), color=output.colourful())
        for each in group.get("restarts", ()):
            click.echo(output.printable(f"restarts {each['what']}: {', '.join(each['why'])}"))
        for image in group.get("images", ()):
            click.echo(output.printable(f"fetches {image}"))
        for each in group.get("undecided", ()):
            output.say(f"decided at the site: {output.printable(each)}")


@click.command()
@click.option("-f", "--filename", "names", multiple=True, metavar="FILE", help="Files; none: what the hub holds.")
@sources.plain_options
@click.option("--instance", metavar="NAME", help="Only this instance.")
@click.option("--site", metavar="NAME", help="Only what this site gets.")
@output.formatted("yaml", "json", "name")
@click.pass_obj
def render(
    client: Client,
    names: tuple[str, ...],
    name: str | None,
    selector: str | None,
    fields: str | None,
    instance: str | None,
    site: str | None,
    form: str,
) -> None:
    """Print the resources that instances become, as Kubernetes manifests."""
    plain = sources.plain(name, selector, fields)
    answer = client.post(
        "/v1/render", {"files": sources.read(names), "plain": plain, "instance": instance, "site": site}
    )
    _print_rendered(answer, form)


def _print_rendered(answer: dict[str, Any], form: str) -> None:
    output.problems(answer.get("warnings", ()))
    if form == "json":
        output.emit(answer, form)
    for index, resource in enumerate(answer["resources"] if form != "json" else ()):
        if form == "name":
            click.echo(resource["key"])
        else:
            if index:
                click.echo("---")
            output.emit(resource["body"], "yaml")
    for each in answer.get("undecided", ()) if form != "json" else ():
        text = f"decided at the site: {each['kind']} {each['id']} of {each['instance']}: {each['why']}"
        if form == "yaml":
            click.echo(f"# {output.printable(text)}")
        else:
            output.say(text)
