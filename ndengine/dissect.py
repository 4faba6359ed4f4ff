"""The whole pipeline: dataset -> probe -> spool -> threshold -> tally -> score -> report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ndengine.clock import Clock
from ndengine.datasets.open import open_dataset
from ndengine.devices import (
    explaining_compilers,
    explaining_full_memory,
    finish_work,
    forget_peak_memory,
    idle_gpu_note,
    open_device,
    slow_bfloat16_note,
)
from ndengine.errors import SpoolError
from ndengine.models.layers import Layer
from ndengine.nonfinite import naming_non_finite
from ndengine.plan import Run, plan_run
from ndengine.probe import Probe, read_batches
from ndengine.progress import SILENT, Progress
from ndengine.report import write_report
from ndengine.result import ACTIVATIONS, Dissection, LayerResult, load, write_layer, write_result
from ndengine.rotation import rotation_power
from ndengine.score import Scores, Summary, score_units, summarise
from ndengine.settings import Settings
from ndengine.spool import DenseSpool, Spool, SurvivorSpool, available_bytes
from ndengine.spool_files import claim_folder
from ndengine.taken import refuse_changed_contents, refuse_other_settings
from ndengine.tally import Counts, tally_layer
from ndengine.threshold import find_thresholds
from ndengine.workspace import REPORT, Workspace, claim
from ndkernels.grid import Grid, make_grid
from ndkernels.rotate import Rotation
from ndkernels.warm import STEPS, warm_up, warm_up_gpu


def dissect_network(
    settings: Settings,
    out: Path,
    *,
    cache: Path,
    overwrite: bool = False,
    profile: bool = False,
    progress: Progress = SILENT,
) -> Dissection:
    """Dissect layers of a network, or give back the result that ``out`` holds of the same settings.

    Parameters
    ----------
    settings : Settings
        Everything that decides the result, and how the run is carried out.
    out : Path
        Folder of the result; an interrupted run with the same settings goes on from what it left there.
    cache : Path
        Folder of packed datasets, the built-in data and downloaded weights.
    overwrite : bool
        Replace a result of other settings, and begin afresh after an interruption.
    profile : bool
        Let a GPU finish at the borders of what is measured, so that the result's profile is true there too; that
        takes time of its own.
    progress : Progress
        Told of every stage.

    Returns
    -------
    Dissection
        Its ``provenance["profile"]`` says where the time went up to the return; that on the disk ends when it is
        written.

    Raises
    ------
    NdengineError
        For whatever the user can mend; see its children.
    """
    clock = Clock()
    torch.set_num_threads(settings.threads)
    out, cache = Path(out), Path(cache)
    with claim(out) as workspace:
        if workspace.finished and not overwrite:
            refuse_other_settings(settings, out)
            workspace.sweep()
            return _show_again(settings, out, progress)
        device = take_device(settings, clock, profile, progress)
        with clock.stage("data"):
            dataset = open_dataset(settings.data, cache, progress)
        with dataset, explaining_full_memory(device):
            run = plan_run(settings, dataset, device, cache, progress, clock)
            with clock.stage("compile"):
                compile_kernels(run, progress)
            if not overwrite:
                refuse_other_spools(run, workspace)
            # Beside a finished result, what is unfinished comes from an --overwrite like this one: it may go on.
            workspace.prepare(afresh=overwrite and not workspace.finished)
            rotations = make_rotations(run, clock, progress)
            with clock.stage("spool"):
                spools = [make_spool(run, layer, folder, workspace, overwrite, clock) for layer, folder in run.homes]
            with clock.stage("probe"):
                start = fill_spools(run, spools, rotations, clock, progress)
            layers = {}
            for (layer, folder), spool in zip(run.homes, spools, strict=True):
                layers[layer.name] = finish_layer(run, layer, folder, spool, clock, progress)
                with clock.stage("result"):
                    write_layer(workspace.staging, layers[layer.name], dataset.vocabulary)
            facts = (len(run.indices) - start, sum(spool.nbytes for spool in spools))
            dissection = run.dissection(workspace.staging, layers, run.provenance(clock, *facts))
            with clock.stage("report"):
                write_report(dissection, workspace.staging / REPORT, run.images, progress)
            # The date stays that on the page.
            known = {**run.provenance(clock, *facts), "finished": dissection.provenance["finished"]}
            with clock.stage("result"):
                write_result(run.dissection(workspace.staging, layers, known))
                workspace.publish([folder for _, folder in run.homes])
                dissection = load(out)
    return replace(dissection, provenance={**dissection.provenance, **clock.record()}, computed=True)


def take_device(settings: Settings, clock: Clock, profile: bool, progress: Progress) -> torch.device:
    """The run's device, what there is to say about it, and how the clock gets on with it."""
    device = open_device(settings.device)
    forget_peak_memory(device)
    for note in filter(None, (idle_gpu_note(device), slow_bfloat16_note(settings.precision, device))):
        progress.note(note)
    clock.true_borders = profile or device.type == "cpu"
    if profile:
        clock.wait = partial(finish_work, device)
    return device


def compile_kernels(run: Run, progress: Progress) -> None:
    """Compile what the run will call, or find it in the compilers' caches."""
    layers = run.homes if run.device.type == "cuda" else run.homes[:1]  # a CPU's kernels are the same for all
    with progress.stage("compile", STEPS * len(layers), "kernels") as advance, explaining_compilers(run.device):
        for layer, _ in layers:
            if run.device.type == "cpu":
                warm_up(advance, labels=run.dataset.label_size)
                continue
            warm_up_gpu(
                layer.shape[1:],
                run.dataset.label_size,
                len(run.dataset.vocabulary.categories),
                run.settings.knobs.area,
                device=run.device,
                advance=advance,
            )


def refuse_other_spools(run: Run, workspace: Workspace) -> None:
    """Raise SpoolError if an interrupted run of other settings has left a spool here."""
    keys = {folder: run.spool_key(layer) for layer, folder in run.homes}
    for path in sorted(workspace.spools.glob("*/spool.json")):
        claim_folder(path.parent, keys.get(path.parent.name, {"layer": None}))


def _show_again(settings: Settings, out: Path, progress: Progress) -> Dissection:
    dissection = load(out)
    refuse_changed_contents(settings, dissection.provenance, out)
    progress.note(f"{out} holds this dissection already; it is shown without computing.")
    return dissection


def make_rotations(run: Run, clock: Clock, progress: Progress) -> dict[str, Rotation]:
    """What each layer's units are put through, by name; layers of as many units share one matrix."""
    layers = [layer for layer, _ in run.homes] if run.rotate else []
    made: dict[int, Rotation] = {}
    if layers:
        units = dict.fromkeys(layer.shape[0] for layer in layers)
        with clock.stage("rotation"), progress.stage("rotation", len(units), "matrices") as advance:
            for count in units:
                made[count] = Rotation(rotation_power(count, run.rotate, run.rotate_seed), run.device)
                advance(1)
    return {layer.name: made[layer.shape[0]] for layer in layers}


def make_spool(run: Run, layer: Layer, folder: str, workspace: Workspace, overwrite: bool, clock: Clock) -> Spool:
    """The spool of a layer, as ``--spool`` asks.

    One that an interrupted run left is taken up; where that can't be done, ``overwrite`` clears it away.
    """
    settings, above = run.settings, run.above(layer)
    units = layer.shape[0]
    how: dict[str, Any] = {"threads": settings.threads, "device": run.device, "clock": clock}
    if settings.spool == "dense":
        home = workspace.staging / folder
        home.mkdir()
        shape = (len(run.indices), *layer.shape)
        return DenseSpool(home / ACTIVATIONS, shape, above, settings.top_images, **how)
    home = workspace.spools / folder
    if settings.spool == "memory":
        return SurvivorSpool(units, above, settings.top_images, **how)
    memory = available_bytes() // len(run.homes) if settings.spool == "auto" else 0

    def take_up() -> SurvivorSpool:
        claim_folder(home, run.spool_key(layer))
        return SurvivorSpool(units, above, settings.top_images, folder=home, memory_bytes=memory, **how)

    try:
        return take_up()
    except SpoolError:
        if not overwrite:
            raise
        shutil.rmtree(home)
        return take_up()


def fill_spools(
    run: Run, spools: Sequence[Spool], rotations: Mapping[str, Rotation], clock: Clock, progress: Progress
) -> int:
    """Run the network over all images that the spools lack; gives the place of the first of them."""
    layers = [layer for layer, _ in run.homes]
    probe = Probe(run.model.module, layers, run.device, run.settings.precision, rotations, clock)
    start = min(spool.images for spool in spools)
    batches = read_batches(
        run.dataset.images,
        run.indices,
        run.preprocessing,
        size=run.size,
        batch_size=run.settings.batch_size,
        start=start,
        device=run.device,
        threads=run.settings.threads,
        clock=clock,
    )
    with progress.stage("probe", len(run.indices), "images") as advance:
        advance(start)
        for first, batch in clock.each(batches, "wait"):
            with clock.part("forward"):
                activations = probe.activations(batch, first)
            for layer, spool in zip(layers, spools, strict=True):
                with clock.part("sieve"), naming_non_finite(run, layer, spool):
                    spool.add(activations[layer.name], first)
            advance(len(batch))
    for layer, spool in zip(layers, spools, strict=True):
        with clock.part("sieve"), naming_non_finite(run, layer, spool):
            spool.close()
    return start


def finish_layer(run: Run, layer: Layer, folder: str, spool: Spool, clock: Clock, progress: Progress) -> LayerResult:
    """From a filled spool to a layer's result."""
    settings, dataset = run.settings, run.dataset
    grid, notes = lay_grid(run, layer, progress)
    with clock.stage("threshold"):
        thresholds = find_thresholds(spool, run.above(layer), threads=settings.threads)
    dead = spool.tops.dead.cpu().numpy()
    top_images = np.where(dead[:, None], -1, spool.tops.images.cpu().numpy())
    with clock.stage("tally"):
        counts, masks = tally_layer(
            spool.survivors(),
            thresholds,
            grid,
            lambda first, last: dataset.labels(run.indices[first:last]),
            len(run.indices),
            dataset.vocabulary,
            overlap=settings.knobs.overlap,
            area=settings.knobs.area,
            top_images=top_images,
            threads=settings.threads,
            device=run.device,
            progress=progress,
            clock=clock,
        )
    if isinstance(spool, DenseSpool):
        spool.finish()
    with clock.stage("score"):
        scores, summary = score_layer(run, layer, counts, dead, notes)
    return LayerResult(
        name=layer.name,
        path=layer.path,
        folder=folder,
        shape=layer.shape[1:],
        geometry=grid.geometry,
        field=layer.field and (astuple(layer.field[0]), astuple(layer.field[1])),
        counts=counts,
        dead=dead,
        top_images=top_images,
        top_values=np.where(top_images >= 0, spool.tops.values.cpu().numpy(), np.float32(0)),
        top_masks=masks,
        scores=scores,
        summary=summary,
    )


def lay_grid(run: Run, layer: Layer, progress: Progress) -> tuple[Grid, list[str]]:
    """Where a layer's activations sit on the labels, and the sentences that the user should see about the layer."""
    grid = make_grid(
        run.settings.knobs.geometry,
        maps=layer.shape[1:],
        labels=run.dataset.label_size,
        inputs=run.size,
        field=layer.field,
    )
    notes = [run.preprocessing.note] if run.preprocessing.note else []
    for said in filter(None, (layer.note, grid.note)):
        notes.append(f"{layer.name}: {said}.")
        progress.note(notes[-1])
    return grid, notes


def score_layer(
    run: Run,
    layer: Layer,
    counts: Counts,
    dead: NDArray[np.bool_],  # [U]
    notes: Sequence[str],
) -> tuple[Scores, Summary]:
    """What a layer's units detect, and the layer in numbers."""
    vocabulary, knobs = run.dataset.vocabulary, run.settings.knobs
    scores = score_units(
        counts,
        vocabulary,
        detector=knobs.detector,
        iou_threshold=knobs.iou_threshold,
        min_images=run.min_images,
        categories=run.settings.categories,
        dead=dead,
    )
    summary = summarise(
        scores,
        vocabulary.categories,
        concept_images=counts.concept_images,
        dead=dead,
        rank=run.above(layer),
        positions=run.positions(layer),
        notes=notes,
    )
    return scores, summary
