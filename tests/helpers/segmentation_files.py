"""Writes small segmentation sets as their users have them, for the tests of readers, layouts and sets."""

import json

import numpy as np
from PIL import Image


def blob(seed, shape, labels=3, dtype=np.uint8):
    """A random smooth image and a mask with the labels 0 to `labels - 1`, all of which occur."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 1.5)
    ranks = field.ravel().argsort().argsort().reshape(shape) / field.size
    image = np.clip(200 * ranks + rng.normal(0, 10, shape), 0, 255).astype(dtype)
    return image, np.minimum((ranks * labels).astype(np.uint8), labels - 1)


def picture(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def nifti(path, array, affine=None):
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def nnunet(root, cases=8, channels=1, shape=(12, 10, 8), test=0, names=None, ending=".nii.gz", **description):
    """An nnU-Net raw folder; `description` replaces fields of its `dataset.json` (None removes one)."""
    names = names or [f"case_{i:03d}" for i in range(cases + test)]
    for i, name in enumerate(names):
        part = "Tr" if i < cases else "Ts"
        for channel in range(channels):
            image, mask = blob(100 * i + channel, shape)
            file = root / f"images{part}" / f"{name}_{channel:04d}{ending}"
            nifti(file, image.astype(np.float32)) if ending == ".nii.gz" else picture(file, image)
        file = root / f"labels{part}" / f"{name}{ending}"
        nifti(file, mask) if ending == ".nii.gz" else picture(file, mask)
    fields = {
        "channel_names": {str(channel): f"channel {channel}" for channel in range(channels)},
        "labels": {"background": 0, "left": 1, "right": 2},
        "numTraining": cases,
        "file_ending": ending,
    } | description
    write_json(root / "dataset.json", {key: value for key, value in fields.items() if value is not None})
    return root


def decathlon(root, cases=8, test=2, shape=(12, 10, 8), **description):
    """A task of the Medical Segmentation Decathlon."""
    entries = []
    for i in range(cases + test):
        image, mask = blob(i, shape)
        part = "Tr" if i < cases else "Ts"
        nifti(root / f"images{part}" / f"organ_{i:03d}.nii.gz", image.astype(np.float32))
        if i < cases:
            nifti(root / "labelsTr" / f"organ_{i:03d}.nii.gz", mask)
            entries.append({"image": f"./imagesTr/organ_{i:03d}.nii.gz", "label": f"./labelsTr/organ_{i:03d}.nii.gz"})
    fields = {
        "name": "organ", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "left", "2": "right"},
        "numTraining": cases, "numTest": test, "training": entries,
        "test": [f"./imagesTs/organ_{i:03d}.nii.gz" for i in range(cases, cases + test)],
    }  # fmt: skip
    write_json(root / "dataset.json", fields | description)
    return root


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def oasis(root, subjects=6, shape=(16, 20)):
    for i in range(1, subjects + 1):
        folder = root / f"OASIS_OAS1_{i:04d}_MR1"
        for stem, size in (("slice", (*shape, 1)), ("aligned", (*shape, 12))):
            image, mask = blob(i, size, labels=5)
            nifti(folder / f"{stem}_norm.nii.gz", image.astype(np.float32) / 255)
            nifti(folder / f"{stem}_seg4.nii.gz", mask)
            nifti(folder / f"{stem}_seg{24 if stem == 'slice' else 35}.nii.gz", mask)
    return root


def camus(root, patients=5):
    for i in range(1, patients + 1):
        for view in ("2CH", "4CH"):
            for instant in ("ED", "ES"):
                name = f"patient{i:04d}_{view}_{instant}"
                shape = (20 + i, 24)  # patients differ in size
                image, mask = blob(hash((i, view == "2CH", instant == "ED")) % 10**6, shape, labels=4)
                affine = np.diag([0.3, 0.15, 1, 1])
                nifti(root / f"patient{i:04d}" / f"{name}.nii.gz", image, affine)
                nifti(root / f"patient{i:04d}" / f"{name}_gt.nii.gz", mask, affine)
    return root


def wbc(root, cases=30, size=40):
    """Cells 3 and 4 are one image under different masks, 7 and 8 nearly one image."""
    images = {i: np.stack([blob(10 * i + c, (size, size))[0] for c in range(3)], -1) for i in range(1, cases + 1)}
    images[4] = images[3]
    noise = np.random.default_rng(0).integers(-6, 7, images[7].shape)
    images[8] = np.clip(images[7].astype(int) + noise, 0, 255).astype(np.uint8)
    for i, image in images.items():
        picture(root / "Dataset 1" / f"{i:03d}.bmp", image)
        mask = np.array([0, 128, 255], np.uint8)[blob(10 * i, (size, size))[1]]
        mask[0, :2] = (120, 200)  # stray values
        picture(root / "Dataset 1" / f"{i:03d}.png", mask)
    return root


def nuclei(root, fluo=10, colour=5):
    rows = ["id,kind,width,height,n_nuclei"]
    for i in range(fluo + colour):
        shape = (32, 32) if i < fluo else (32, 40)
        image, mask = blob(i, shape, labels=6)
        rgba = np.stack([image // (1 if i < fluo else 1 + c) for c in range(3)] + [np.full_like(image, 255)], -1)
        picture(root / "images" / f"n{i:02d}.png", rgba)
        picture(root / "labels" / f"n{i:02d}.png", mask.astype(np.uint16))
        rows.append(f"n{i:02d},{'fluo' if i < fluo else 'colour'},{shape[1]},{shape[0]},5")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


def membranes(root, sections=12, size=32):
    for i in range(sections):
        image, mask = blob(i, (size, size), labels=2)
        picture(root / "train" / "image" / f"{i}.png", image)
        picture(root / "train" / "label" / f"{i}.png", mask * np.uint8(255))
    return root


def brains(root, scans=15, shape=(44, 36)):
    """Scans 2 and 3 are of one child, and so are 5, 6 and 7."""
    image = np.zeros((scans, 4, *shape), np.uint8)
    label = np.zeros_like(image)
    for scan in range(scans):
        for place in range(4):
            image[scan, place], label[scan, place] = blob(10 * scan + place, shape, labels=5)
    noise = np.random.default_rng(1)
    for scan, child in ((3, 2), (6, 5), (7, 6)):
        image[scan] = np.clip(image[child].astype(int) + noise.integers(-5, 6, image[child].shape), 0, 255)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        root / "slices.npz", image=image, label=label, slab_slice=np.array([6, 8, 10, 12]),
        subject=np.array([f"ilist{i + 1}" for i in range(scans)]),
    )  # fmt: skip
    return root


def retinas(root, children=14, size=(24, 26)):
    for child in range(1, children + 1):
        for side in "LR":
            image = np.stack([blob(1000 * (side == "L") + 10 * child + c, size)[0] for c in range(3)], -1)
            picture(root / "CHASEDB1" / f"Image_{child:02d}{side}.jpg", image, quality=95)
            for tail, seed in (("1stHO", 1), ("2ndHO", 2)):
                mask = blob(100 * child + seed, size, labels=2)[1] * np.uint8(255)
                Image.fromarray(mask).convert("1").save(root / "CHASEDB1" / f"Image_{child:02d}{side}_{tail}.png")
    return root


def hippocampi(root, ids=(1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 14, 17), dtype=np.float32):
    for i in ids:
        shape = (10 + i % 3, 14, 8 + i % 2)
        image, mask = blob(i, shape)
        nifti(root / "images" / f"hippocampus_{i:03d}.nii.gz", image.astype(dtype) * 7)
        nifti(root / "labels" / f"hippocampus_{i:03d}.nii.gz", mask)
    return root


def whole(splits):
    """All examples of the three splits in the order of the source."""
    parts = splits.parts().values()
    order = np.argsort(np.concatenate([part.index for part in parts]))
    fields = ("images", "labels", "groups", "spacing", "names")
    arrays = {name: [getattr(part, name) for part in parts] for name in fields}
    return {n: None if a[0] is None else np.concatenate(a)[order] for n, a in arrays.items()}
