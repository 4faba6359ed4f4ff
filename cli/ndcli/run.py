"""``ndengine run``: a network and a labelled dataset in, a finished dissection out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ndcli import options
from ndcli.process import tune_process
from ndcli.profile import print_profile, profile_record
from ndcli.progress import shown
from ndcli.summary import print_summary, summary_record
from ndcli.terminal import print_json


@click.command()
@options.model_options
@options.probe_options
@options.data_options
@options.knob_options
@options.how_options
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the result.  [default: dissections/MODEL-LAYERS-DATA, -rotated-A where --rotate is given]",
)
@click.option("--overwrite", is_flag=True, help="Replace a result in --out that has other settings.")
@click.option(
    "--profile",
    is_flag=True,
    help="Print where the time went, even with --quiet; a GPU is then waited for at every step, which costs time.",
)
@options.cache_option
@options.json_option
@options.quiet_option
def run(
    out: Path | None, cache: Path, overwrite: bool, profile: bool, as_json: bool, quiet: bool, **chosen: Any
) -> None:
    """Dissect layers of a network.

    Finds, for each unit, the concept whose labels its strongest activations match best, and counts the units
    that detect one. A finished result with the same settings is shown again without computing.

    \b
    Examples:
      ndengine run
      ndengine run --model vgg16 --layer conv5_3 --data broden1_224
      ndengine run --model net.py:build --weights net.pth --layer 'layer4.*' --data mine --out dissected
    """
    settings = options.settings_of(chosen)
    tune_process()  # before torch is loaded
    with shown(quiet) as progress:
        from ndengine.dissect import dissect_network

        folder = out or options.result_folder(settings)
        dissection = dissect_network(
            settings, folder, cache=cache, overwrite=overwrite, profile=profile, progress=progress
        )
    if as_json:
        more = {"profile": profile_record(dissection)} if profile else {}
        print_json({**summary_record(dissection), **more})
        return
    if not quiet:
        print_summary(dissection)
    if profile:
        print_profile(dissection)
