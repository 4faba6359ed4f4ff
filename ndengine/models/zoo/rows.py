"""The benchmark of 2017: a row for every network of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Any

from ndengine.errors import ModelError
from ndengine.models.zoo import alexnet, googlenet, resnet152, selfsupervised, vgg16
from ndengine.models.zoo.files import Edition, converted, netdissect, places365, unpublished
from ndengine.models.zoo.published import Published, find_published
from ndengine.models.zoo.row import Definer, Row

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
CLASSES = {"imagenet": 1000, "places205": 205, "places365": 365}
HYBRID = 978 + 205  # classes of ImageNet that are no scenes, and Places205's
HYBRID1365 = 1000 + 365
ROTATIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
ROTATE_SEED = 1
ITERATIONS = (
    *(1, 2, 4, 9, 20, 44, 99, 223, 492, 1108, 2446, 5509, 12164, 27396, 60491, 136238),
    *(300818, 600818, 1200818, 2400818),
)


def rows() -> tuple[Row, ...]:
    """All rows, family by family."""
    return tuple(_rows_by_name().values())


def find_row(name: str) -> Row | None:
    """The row of a name; None where there is none."""
    return _rows_by_name().get(name)


def published_for(settings: Mapping[str, Any], layer: str) -> Published | None:
    """What was released of a layer that was dissected with these recorded settings.

    None where the row's network was another than that of the run: one with drawn weights, or a rotated one.
    """
    row = find_row(settings["model"])
    if row is None or settings.get("rotate") or (settings["weights"] == "random" and not row.is_random):
        return None
    return row.published_at(layer)


def known_row(name: str) -> Row:
    """The row of a name.

    Raises
    ------
    ModelError
        If there is none; close names are given.
    """
    row = find_row(name)
    if row is None:
        close = get_close_matches(name, _rows_by_name(), 4, 0.5)
        hint = f"close names are {', '.join(close)}" if close else "no name comes close"
        raise ModelError(f"The benchmark has no network {name!r}: {hint}; `ndengine models` lists them all.")
    return row


@lru_cache(maxsize=1)
def _rows_by_name() -> dict[str, Row]:
    made = (*_alexnets(), *_googlenets(), *_vggs(), *_resnets(), *_self_supervised(), *_rotated(), *_iterations())
    return {row.name: row for row in made}


def _alexnet(name: str, stem: str, define: Definer, *editions: Edition, **more: Any) -> Row:
    facts: dict[str, Any] = {
        "family": "alexnet",
        "architecture": "CaffeNet",
        "layers": CONVOLUTIONS,
        "published": find_published(stem),
        "editions": editions or (unpublished(stem),),
    }
    return Row(name=name, size=alexnet.SIZE, definers={"": define}, **(facts | more))


def _alexnets() -> Iterator[Row]:
    on_places205 = partial(alexnet.caffenet, CLASSES["places205"])
    places = "caffe_reference_places205"
    gap = "caffe_reference_places365_GAP"
    for name, classes in CLASSES.items():
        stem = f"caffe_reference_{name}"
        more = (places365("alexnet_places365"),) if name == "places365" else ()
        yield _alexnet(f"alexnet-{name}", stem, partial(alexnet.caffenet, classes), netdissect(stem), *more)
    yield _alexnet("alexnet-hybrid", "caffe_reference_imagenetplaces205", partial(alexnet.caffenet, HYBRID))
    yield _alexnet(
        "alexnet-random",
        "caffenet_random",
        on_places205,
        is_random=True,
        note="It was never trained: its weights are drawn by --seed, unless the cache folder has the file of 2017.",
    )
    yield _alexnet(
        "alexnet-places365-gap-wide",
        gap,
        partial(alexnet.caffenet_gap, CLASSES["places365"]),
        architecture="CaffeNet, global pooling",
        layers=("conv5",),
        note="Its conv5 has 768 units, whose mean over the map takes the place of fc6 and fc7.",
    )
    yield _alexnet(
        "alexnet-places365-gapplus",
        f"{gap}plus",
        partial(alexnet.caffenet_gap, CLASSES["places365"], more=768),
        architecture="CaffeNet, conv6, global pooling",
        layers=("conv5", "conv6"),
        note="Reconstructed: the network was only described, and that conv5 and conv6 have 768 units is a guess. A "
        "prototxt beside your file decides.",
    )
    yield _alexnet(
        "alexnet-places205-bn",
        f"{places}_batchnorm",
        partial(alexnet.caffenet, CLASSES["places205"], batch_norm=True),
        architecture="CaffeNet with batch norm",
        note="Reconstructed: batch norm with scale and offset between each convolution and its ReLU, instead of the "
        "local response norms, is a guess. A prototxt beside your file decides.",
    )
    yield _alexnet(
        "alexnet-places205-nodropout",
        f"{places}_nodropout",
        partial(alexnet.caffenet, CLASSES["places205"], dropout=False),
        architecture="CaffeNet without dropout",
    )
    for number in (1, 2, 3, 4):
        repeat = f"repeat{number}"
        architecture = "CaffeNet, trained again"
        yield _alexnet(f"alexnet-places205-{repeat}", f"{places}_{repeat}", on_places205, architecture=architecture)


def _googlenets() -> Iterator[Row]:
    blocks = tuple(f"inception_{block}/output" for block in ("3b", "4e", "5b"))
    for name, classes in CLASSES.items():
        stem = f"googlenet_{name}"
        also = places365(stem) if name == "places365" else None
        yield Row(
            f"googlenet-{name}",
            "googlenet",
            "GoogLeNet",
            googlenet.SIZE,
            blocks if name == "places365" else ("conv2/norm2", *blocks),
            (netdissect(stem, also=also),),
            {"": partial(googlenet.googlenet, classes)},
            published=find_published(stem),
        )


def _vggs() -> Iterator[Row]:
    for name, classes, edition in (
        ("imagenet", CLASSES["imagenet"], netdissect("vgg16_imagenet")),
        ("places205", CLASSES["places205"], netdissect("vgg16_places205")),
        ("places365", CLASSES["places365"], netdissect("vgg16_places365", also=places365("vgg16_places365"))),
        ("hybrid", HYBRID1365, places365("vgg16_hybrid1365")),
    ):
        last = "fc8" if name in ("imagenet", "places205") else "fc8a"
        yield Row(
            f"vgg16-{name}",
            "vgg16",
            "VGG16",
            vgg16.SIZE,
            ("conv3_3", "conv4_3", "conv5_3"),
            (edition,),
            {"": partial(vgg16.vgg16, classes, last)},
            published=find_published(edition.weights.name.removesuffix(".caffemodel")),
        )


def _resnets() -> Iterator[Row]:
    for name in ("imagenet", "places365"):
        torch, caffe = f"resnet-152-torch-{name}", f"ResNet-152-model_{name}"
        more = (places365("resnet152_places365", naming="caffe"),) if name == "places365" else ()
        yield Row(
            f"resnet152-{name}",
            "resnet152",
            "ResNet-152",
            resnet152.SIZE,
            ("res3b7", "res4b12", "res4b24", "res4b35", "res5c"),
            (netdissect(torch, naming="torch"), unpublished(caffe, naming="caffe"), *more),
            {
                "torch": partial(resnet152.resnet152_torch, CLASSES[name]),
                "caffe": partial(resnet152.resnet152, CLASSES[name]),
            },
            published=find_published(torch, is_version=True),
            same=resnet152.sums(),
            note="Reconstructed: the version converted from Torch, where no prototxt lies beside its weights; that its "
            "first pool is padded as in Torch's ResNets is a guess. The other version is Caffe's own. Layers go by "
            "numbers in the former; the stride of a stage stands on a 3x3 convolution there and on a 1x1 convolution "
            "in the latter. Both take either names.",
        )


def _self_supervised() -> Iterator[Row]:
    colours = "Reconstructed: which colours it got in 2017 was not published; here it gets those of the other rows."
    one = "It has one channel of input, and gets the mean over the three channels, as in 2017."
    for name, task, digits, define, architecture, note in (
        ("audio", "audio", "eb78354d", selfsupervised.audio, "AlexNet with batch norm", ""),
        ("colorization", "colorization", "", selfsupervised.colorization, "AlexNet without norms", one),
        ("context", "deepcontext", "983efb8d", selfsupervised.context, "AlexNet without groups, padded", ""),
        ("crosschannel", "splitbrain", "", selfsupervised.crosschannel, "AlexNet without norms", colours),
        ("egomotion", "egomotion", "a0a681d1", selfsupervised.egomotion, "AlexNet, batch norm after ReLUs", ""),
        ("frameorder", "videoorder", "883e5ce1", selfsupervised.frameorder, "AlexNet, batch norm from conv3", ""),
        ("moving", "learningbymoving", "6326bbff", selfsupervised.moving, "AlexNet", ""),
        ("objectcentric", "objectcentric", "95f20e7e", selfsupervised.objectcentric, "AlexNet", ""),
        ("puzzle", "solvingpuzzle", "51f91a86", selfsupervised.puzzle, "AlexNet", ""),
        ("tracking", "videotracking", "0ba5696f31", selfsupervised.tracking, "AlexNet", ""),
    ):
        layer = {"egomotion": "cls_conv5", "puzzle": "conv5_s1"}.get(name, "conv5")
        editions = (converted(f"{task}-{digits}"),) if digits else ()
        yield _alexnet(
            name,
            f"weakly_{task}",
            define,
            unpublished(f"weakly_{task}"),
            *editions,
            family="self-supervised",
            architecture=architecture,
            layers=(layer,),
            same={} if layer == "conv5" else {"conv5": layer},
            note=note,
        )


def _rotated() -> Iterator[Row]:
    plain = next(row for row in _alexnets() if row.name == "alexnet-places205")
    for power in ROTATIONS:
        yield replace(
            plain,
            name=f"{plain.name}-rotated-{round(100 * power):03d}",
            family="rotated",
            published=None,
            rotate=power,
            rotate_seed=ROTATE_SEED,
            note=f"The units of {plain.name} in another basis: a random rotation of them, to the power of {power:g}.",
        )


def _iterations() -> Iterator[Row]:
    for iteration in ITERATIONS:
        yield _alexnet(
            f"alexnet-places205-iter-{iteration}",
            f"places_iter_{iteration}",
            partial(alexnet.caffenet, CLASSES["places205"]),
            family="iterations",
            architecture="CaffeNet, still training",
            layers=CONVOLUTIONS[2:],
            iteration=iteration,
        )
