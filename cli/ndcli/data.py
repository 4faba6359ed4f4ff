"""``ndengine data``: pack, check and describe a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndcli import options
from ndcli.progress import shown
from ndcli.terminal import megabytes, print_json, print_table, say, say_bold

if TYPE_CHECKING:
    from ndengine.datasets.check import Checkup

CAP = 10  # findings of a kind that are shown without --all
folder_argument = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def data() -> None:
    """Pack, check or describe a dataset.

    \b
    Example:
      ndengine data info broden1_224
    """


@data.command()
@folder_argument
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file.  [default: FOLDER.h5]")
@options.quiet_option
def pack(folder: Path, out: Path | None, quiet: bool) -> None:
    """Pack a dataset folder into one HDF5 file that --data takes.

    A run packs a folder by itself and keeps the pack in the cache; pack by hand to move or keep a dataset. A pack
    that is up to date is left alone, and a file that is no pack is never replaced.

    \b
    Example:
      ndengine data pack broden1_224 --out broden1_224.h5
    """
    from ndengine.datasets.broden import BrodenFolder
    from ndengine.datasets.pack import pack_file

    source = BrodenFolder(folder)
    with shown(quiet) as progress:
        packed, written = pack_file(source, out or Path(f"{source.name}.h5"), progress)
    with packed:
        text = f"{len(packed):,} images in" if not written else f"Packed {len(packed):,} images into"
        if not quiet:
            size = megabytes(packed.path.stat().st_size)
            say(f"{text} {packed.path} ({size}){'' if written else ', up to date already'}.")


@data.command()
@folder_argument
@click.option("--all", "everything", is_flag=True, help=f"Show every finding, not {CAP} of each kind.")
@click.option("--strict", is_flag=True, help="Exit with 1 for findings that a run accepts, too.")
@options.json_option
@options.quiet_option
@click.pass_context
def check(context: click.Context, folder: Path, everything: bool, strict: bool, as_json: bool, quiet: bool) -> None:
    """Check a dataset folder or a packed file: read all of it and list all that is wrong.

    Exits with 1 if a run would refuse the dataset; with --strict also for what a run accepts though it may not be
    meant: images listed twice, concepts of no category, turned photographs, tables that disagree, stray files …
    (whole-image labels of 0 alone, which Broden has, are no fault). Compares pixel totals with the published ones
    where it is a release of Broden. A packed file is compared with its checksums, its labels with its tables.

    \b
    Examples:
      ndengine data check broden1_224 --all
      ndengine data check broden1_224.h5
    """
    from ndengine.datasets.check_pack import check_path

    with shown(quiet) as progress:
        checkup = check_path(folder, progress)
    if as_json:
        print_json(checkup_record(checkup))
    elif not quiet:
        print_checkup(checkup, cap=len(checkup.findings) if everything else CAP)
        if strict and checkup.sound and checkup.doubts:
            say(f"{checkup.doubts:,} findings that --strict refuses.")
    if not checkup.sound or (strict and checkup.doubts):
        context.exit(1)


@data.command()
@click.argument("path", default="scenes")
@options.cache_option
@options.json_option
@options.quiet_option
def info(path: str, cache: Path, as_json: bool, quiet: bool) -> None:
    """Describe a dataset: images, sizes, categories and the most frequent concepts.

    PATH is what --data takes: scenes (the default), a folder in Broden's layout, which is packed first, or a
    packed file.

    \b
    Examples:
      ndengine data info broden1_224
      ndengine data info scenes --json
    """
    from ndengine.datasets.describe import describe
    from ndengine.datasets.open import open_dataset

    with shown(quiet) as progress, open_dataset(path, cache, progress) as dataset:
        record = describe(dataset, progress)
    if as_json:
        print_json(record)
    elif not quiet:
        print_info(record)


def print_info(record: dict[str, Any]) -> None:
    """Print what a dataset holds: the facts in words, then its categories and its most frequent concepts."""
    say_bold(f"{record['name']}: {record['images']:,} images, {record['concepts']:,} concepts")
    (height, width), (rows, columns) = record["image_size"], record["label_size"]
    splits = ", ".join(f"{images:,} {name or 'in no split'}" for name, images in record["splits"].items())
    for fact, value in (
        ("source", record["source"]),
        ("release", record["release"] or "none of Broden's"),
        ("fingerprint", record["fingerprint"]),
        ("image size", f"{height}x{width} pixels, labels {rows}x{columns}"),
        ("splits", splits),
        ("images without a label", f"{record['unlabelled_images']:,}"),
    ):
        say(f"  {fact}: {value}")
    kinds = [(c["name"], c["concepts"], f"{c['images']:,}", f"{c['labelled']:.1%}") for c in record["categories"]]
    print_table("Categories", ("category", "concepts", "images", "labelled pixels"), kinds)
    often = [(f["name"], f["category"] or "", f"{f['images']:,}", f"{f['pixels']:,}") for f in record["frequent"]]
    print_table("Most frequent concepts", ("concept", "category", "images", "pixels"), often, left=2)


def checkup_record(checkup: Checkup) -> dict[str, Any]:
    """Give all that was found as plain JSON values."""
    findings = [
        {
            "kind": f.kind,
            "file": str(f.file),
            "message": f.message,
            "remedy": f.remedy,
            "blocks": f.blocks,
            "harmless": f.harmless,
        }
        for f in checkup.findings
    ]
    return {
        "folder": str(checkup.folder),
        "sound": checkup.sound,
        "doubts": checkup.doubts,
        "images": checkup.images,
        "release": checkup.release,
        "findings": findings,
        "images_with_whole_label_0": checkup.whole_zero,
        "share_of_map_pixels_0": checkup.map_zero,
        "share_of_pixels_unlabelled": checkup.unlabelled,
        "published_totals": {"compared": checkup.compared, "agreed": checkup.agreed},
    }


def print_checkup(checkup: Checkup, cap: int) -> None:
    """Print findings by kind, those that a run refuses first and at most ``cap`` of each, then the totals."""
    for refused, verdict in ((True, " (a run refuses the dataset)"), (False, "")):
        kinds = dict.fromkeys(f.kind for f in checkup.findings if f.blocks is refused)
        for kind in kinds:
            found = [f for f in checkup.findings if f.kind == kind and f.blocks is refused]
            say_bold(f"{kind}: {len(found):,}{verdict}")
            for finding in found[:cap]:
                say(f"  {finding}")
            if len(found) > cap:
                say(f"  … and {len(found) - cap:,} more; --all shows them.")
    rows = [
        (category, images, "no maps" if share is None else f"{share:.1%}")
        for (category, images), share in zip(checkup.whole_zero.items(), checkup.map_zero.values(), strict=True)
    ]
    name, unlabelled = checkup.release or checkup.folder, f"{checkup.unlabelled:.1%} of pixels unlabelled"
    title = f"{name}: {checkup.images:,} images, {unlabelled}"
    if rows:
        print_table(title, ("category", "images labelled 0 as a whole", "pixels 0 in its maps"), rows)
    else:  # a pack no longer knows
        click.secho(title, bold=True)
    if checkup.compared:
        say(f"Pixel totals as published: {checkup.agreed:,} of {checkup.compared:,} concepts.")
    refused_count = sum(f.blocks for f in checkup.findings)
    say(f"{refused_count:,} findings that a run refuses." if refused_count else "A run accepts this dataset.")
