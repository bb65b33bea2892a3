"""`coretune study`: the group. The commands that start and look at studies stand in the files named below."""

from __future__ import annotations

import typer

from coretune_cli import jobs, listing, logs, plan, running, schema, show, status

app = typer.Typer(name="study", help="Run studies, and look at them.", no_args_is_help=True)
app.command("run")(running.run)
app.command("resume")(running.resume)
app.command("submit")(jobs.submit)
app.command("stop")(jobs.stop)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("watch")(status.watch)
app.command("list")(listing.list_studies)
app.command("show")(show.show)
app.command("logs")(logs.logs)
app.command("schema")(schema.schema)
