"""A user's images, a few of which have masks: the other masks, by a network that is not trained for it.

The network sees binary labels, one size and grey values in 0..1. What lies between a user's files and that is here:
checks, resizing and back, classes one by one, volumes slice by slice, and ensembles over examples.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from hyperlab.data.resample import as_size, pad_or_crop
from hyperlab.errors import ConfigError, DataError, ParameterTreeError, nearest
from hyperlab.in_context import support as supports
from hyperlab.in_context.inputs import check_images, check_labels
from hyperlab.in_context.planes import Segmentation, labelled_slices, restored, segmentation, slices, stacks
from hyperlab.inference import multiple_of
from hyperlab.models import UniverSeg
from hyperlab.seeds import check_seed
from hyperlab.train import compiler

CHOICES = {"select": ("random", "similar"), "average": ("probabilities", "logits"), "indivisible": ("pad", "refuse")}


def segment(
    images: Any,
    support_images: Any,
    support_labels: Any,
    params: PyTree,
    *,
    module: nn.Module | Callable | None = None,
    classes: Sequence[int] | None = None,
    size: int | Sequence[int] | None = 128,
    aspect: str = "keep",
    indivisible: str = "pad",
    rescale: bool = False,
    slice_axis: int | None = None,
    support_size: int | None = None,
    select: str = "random",
    ensemble: int = 1,
    average: str = "probabilities",
    threshold: float = 0.5,
    batch: int = 1,
    seed: int = 0,
) -> Segmentation:
    """Segments images from a few examples with an in-context network.

    Args:
      images: `[n, height, width]` in 0..1, with or without a channel of one; or a sequence of images of any sizes.
        With `slice_axis`, volumes.
      support_images: the examples, in the same form. Of volumes, every slice that has a label is an example.
      support_labels: label maps of the same sizes: 0 and 1, or any whole numbers with `classes`.
      params: the network's, without the outer `"params"`.
      module: a Flax module, or a function of the form of its `apply`: `({"params": params}, target [B, H, W, 1],
        support_images [B, S, H, W, 1], support_labels) -> logits [B, H, W, 1]`. By default the UniverSeg with the
        widths of `params`.
      classes: label values to segment, each with a pass of its own. A pixel is given the class with the largest
        probability where that exceeds `threshold`, of equal ones the first, else 0.
      size: what the network works at, 128 for published weights; results have the images' sizes. None: the images' own
        size, which all images and examples must share.
      aspect: `"keep"`: images are padded with zeros to the proportions of the size; `"stretch"`: they are distorted.
      indivisible: what to do where the working size does not divide by what the network's levels need: `"pad"` with
        zeros and cut the result, or `"refuse"`.
      rescale: map each image's (or whole volume's) minimum to 0 and maximum to 1. Without, values outside 0..1 are
        refused.
      slice_axis: of volumes, the axis across which they are cut into slices, 0 to 2.
      support_size: examples a pass; by default all.
      select: `"random"`, or `"similar"`: for each image, those with the smallest mean squared difference from it.
      ensemble: passes with random draws of `support_size` examples, whose predictions are averaged.
      average: what an ensemble averages: `"probabilities"` or `"logits"`.
      threshold: above which a probability is foreground.
      batch: images a call; memory grows with it and with the examples.
      seed: of the draws.

    Returns:
      Masks and probabilities of the images' sizes.

    Raises:
      DataError: no example; sizes of image and label that differ; values outside 0..1; labels other than 0 and 1
        without `classes`; several channels; images of different sizes with `size=None`.
      ConfigError: an option, or the seed, outside its range.
      ParameterTreeError: `params` are not a UniverSeg's, and there is no `module`.

    >>> def mean_label(variables, target, support_images, support_labels):  # stands for a network
    ...     return variables["params"]["scale"] * (support_labels.mean(1) - 0.5)
    >>> label = np.zeros((1, 40, 40), int)
    >>> label[:, 10:30, 10:30] = 1
    >>> masks, probabilities = segment([np.zeros((20, 20))], label * 0.5, label, {"scale": 9.0}, module=mean_label)
    >>> masks.shape, masks[0, 10].tolist()
    ((1, 20, 20), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0])

    (Butoi et al., 2023, "UniverSeg", arXiv 2304.06131.)
    """
    for name, value in (("select", select), ("average", average), ("indivisible", indivisible)):
        if value not in CHOICES[name]:
            raise ConfigError(f"unknown {name} {value!r}; {nearest(str(value), CHOICES[name])}")
    if not 0 <= threshold < 1 or batch < 1:
        raise ConfigError(f"threshold is {threshold} and batch {batch}, expected a threshold in 0..1 and a batch >= 1")
    check_seed(seed)
    if slice_axis not in (None, 0, 1, 2):
        raise ConfigError(f"slice_axis is {slice_axis}, expected 0 to 2, or None for images")
    module = network_of(params) if module is None else module
    params = jax.tree.map(jnp.asarray, params)  # on the device once, not at each call
    dims = 2 if slice_axis is None else 3
    scans = check_images(images, "images", dims, rescale)
    examples = check_images(support_images, "support_images", dims, rescale)
    labels, wanted = check_labels(support_labels, examples, classes)
    if slice_axis is not None:
        examples, labels = labelled_slices(examples, labels, wanted, slice_axis)
    planes = slices(scans, slice_axis)

    working = None if size is None else as_size(size, 2)
    targets, pool, maps = stacks(planes, examples, labels, size=working, aspect=aspect)
    plane_size = targets.shape[1:]
    targets, pool, maps = (_divisible(each, module, indivisible) for each in (targets, pool, maps))
    chosen = _chosen(targets, pool, support_size, select, ensemble, seed)
    lost = [value for value in wanted if not (maps == value).any()]
    if lost:
        raise DataError(f"class {lost[0]} has no pixel left in any example at size {plane_size}; give a larger size")
    results = []
    for label in wanted:
        binary = (maps == label).astype(np.float32)
        mean = _predict(module, params, targets, pool, binary, chosen, average, batch)
        results.append([pad_or_crop(each, plane_size) for each in mean])
    per_plane = [np.stack(of_classes, -1) for of_classes in zip(*results, strict=True)]
    found = restored(per_plane, scans, size=working, aspect=aspect, slice_axis=slice_axis)
    values = np.array(wanted, np.int32)
    masks = [np.where(each.max(-1) > threshold, values[each.argmax(-1)], 0).astype(np.int32) for each in found]
    return segmentation(masks, found if classes is not None else [each[..., 0] for each in found])


def network_of(params: PyTree) -> UniverSeg:
    """The UniverSeg whose parameters these are, by their names and shapes.

    Options that leave no trace in the parameters (`cross_relu`) have their defaults.

    Raises:
      ParameterTreeError: they are no UniverSeg's, or a Tyche's, which is called in another way.

    >>> params = UniverSeg([4, 6]).init(jax.random.key(0), *[jnp.ones((1, *s, 4, 4, 1)) for s in ((), (1,), (1,))])
    >>> network_of(params["params"]).encoder
    ((4, 4), (6, 6))
    """
    names = set(params) if hasattr(params, "keys") else set()
    if names == {"params"}:
        raise ParameterTreeError("the parameters are inside an outer 'params'; give variables['params']")
    levels = {
        kind: [params[f"{kind}_{i}"] for i in range(len(names)) if f"{kind}_{i}" in names] for kind in ("enc", "dec")
    }
    try:
        widths = {
            kind: [(block["cross"]["kernel"].shape[-1], block["target"]["kernel"].shape[-1]) for block in blocks]
            for kind, blocks in levels.items()
        }
        first = levels["enc"][0]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        shown = ", ".join(sorted(map(str, names))[:6]) or type(params).__name__
        raise ParameterTreeError(
            f"these are no parameters of a UniverSeg, which has enc_0/cross/kernel and so on; found {shown}; name the "
            "network with module="
        ) from error
    if "meanconv" in first:
        raise ParameterTreeError("these are the parameters of a Tyche, which gives candidates; expected a UniverSeg's")
    normalization = "group" if any("norm" in name for name in first) else None
    return UniverSeg(widths["enc"], widths["dec"], normalization=normalization)


# -- parts ----------------------------------------------------------------------------------------------------------


def _divisible(stack: np.ndarray, module: Any, indivisible: str) -> np.ndarray:
    divisor = 2 ** (len(getattr(module, "encoder", (0,))) - 1)
    size = multiple_of(stack.shape[1:], divisor)
    if size != stack.shape[1:] and indivisible == "refuse":
        raise DataError(
            f"the working size {stack.shape[1:]} does not divide by {divisor}, as the network's levels need; the next "
            f"size is {size}, or indivisible='pad'"
        )
    return np.stack([pad_or_crop(plane, size) for plane in stack])


def _chosen(targets, pool, support_size, select: str, ensemble: int, seed: int) -> np.ndarray:
    """Which examples each pass of each image sees: int `[passes, 1 or n, size]`."""
    size = len(pool) if support_size is None else support_size
    if ensemble > 1 and (select == "similar" or size == len(pool)):
        same = "select='similar'" if select == "similar" else "all examples in each pass"
        raise ConfigError(
            f"ensemble is {ensemble} with {same}: every pass would be the same; give a support_size below {len(pool)} "
            "and select='random'"
        )
    if select == "similar":
        return supports.most_similar(targets, pool, size)[None]
    return supports.draws(len(pool), size, ensemble, seed)[:, None]


def _predict(module, params, targets, pool, labels, chosen, average: str, batch: int) -> np.ndarray:
    """Mean probabilities `[n, h, w]` over the passes."""
    mean, n = np.zeros(targets.shape, np.float32), len(targets)
    for of_pass in chosen:
        for start in range(0, n, batch):
            # the last batch is filled up, so that there is one program
            rows = np.minimum(np.arange(start, start + batch), n - 1)
            shown = of_pass[rows] if len(of_pass) > 1 else of_pass
            values = np.asarray(_logits(module, params, targets[rows], pool[shown], labels[shown]), np.float32)
            values = values if average == "logits" else _sigmoid(values)
            mean[start : start + batch] += values[: n - start] / len(chosen)
    return _sigmoid(mean) if average == "logits" else mean


def _logits(module, params, targets, images, labels):
    images, labels = (jnp.broadcast_to(each, (len(targets), *each.shape[1:]))[..., None] for each in (images, labels))
    return _program(module)(params, targets[..., None], images, labels)[..., 0]


@lru_cache(maxsize=8)
def _program(module):
    """The module's apply, compiled once for each set of shapes."""
    apply = getattr(module, "apply", module)
    return jax.jit(lambda params, *inputs: apply({"params": params}, *inputs), compiler_options=compiler.options())


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(logits / 2)) / 2  # which cannot overflow
