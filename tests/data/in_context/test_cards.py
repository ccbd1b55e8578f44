"""Cards of public sets: complete in form, and each builds from a small fake tree in the layout that it names."""

from pathlib import Path

import numpy as np
import pytest
import segmentation_files as files

from hyperlab.data import build as command
from hyperlab.data import cards
from hyperlab.data.in_context.sources import SOURCES, open_source
from hyperlab.data.in_context.store import TaskStore
from hyperlab.data.in_context.tasks import TaskName
from hyperlab.errors import DataError

CASES = 6


def decathlon(root, stem, labels, channels=1, values=None):
    """A task of the decathlon with its published case names; several channels are a fourth axis."""
    entries = []
    for i in range(1, CASES + 1):
        image, mask = files.blob(i, (8, 7, 6), labels=labels + 1)
        image = image.astype(np.float32)
        name = f"{stem.format(i)}.nii.gz"
        files.nifti(root / "imagesTr" / name, image if channels == 1 else np.stack([image] * channels, -1))
        files.nifti(root / "labelsTr" / name, mask)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    names = {"0": "background"} | {str(value): f"name {value}" for value in range(1, labels + 1)}
    modality = {str(channel): f"channel {channel}" for channel in range(channels)}
    files.write_json(
        root / "dataset.json",
        {"modality": modality, "labels": names, "numTraining": CASES, "training": entries, "test": []},
    )


def pairs(root, image_name, mask_name, labels=1, shape=(20, 18), top=None):
    """Image and mask files by two patterns; `top` is the value of the foreground of binary masks."""
    for i in range(1, CASES + 1):
        image, mask = files.blob(i, shape, labels=labels + 1)
        mask = mask * np.uint8(top) if top else mask
        for path, array in ((image_name, image), (mask_name, mask)):
            write = files.nifti if path.endswith(".nii.gz") else files.picture
            write(root / path.format(i), array)


def cine(root):
    """Two instants of each patient, and the film that has no mask."""
    for instant in ("frame01", "frame12"):
        name = f"patient{{0:03d}}/patient{{0:03d}}_{instant}"
        pairs(root, f"{name}.nii.gz", f"{name}_gt.nii.gz", 3, (8, 7, 6))
    for i in range(1, CASES + 1):
        files.nifti(root / f"patient{i:03d}" / f"patient{i:03d}_4d.nii.gz", np.zeros((8, 7, 6, 3), np.float32))


VOLUME = (8, 7, 6)
TREES = {
    "acdc": cine,
    "amos22_ct": lambda root: decathlon(root, "amos_{:04d}", 15),
    "brain_t1_ptbp": files.brains,
    "btcv": lambda root: pairs(root, "images/img{:04d}.nii.gz", "labels/img{:04d}.nii.gz", 13, VOLUME),
    "camus": files.camus,
    "chasedb1": files.retinas,
    "drive": lambda root: pairs(root, "images/2{}_training.tif", "labels/2{}_training.png", top=255),
    "dsb2018_nuclei": files.nuclei,
    "hrf": lambda root: pairs(root, "images/{:02d}_dr.jpg", "labels/{:02d}_dr.tif", top=255),
    "isbi2012_membrane": files.membranes,
    "isic2016": lambda root: pairs(
        root, "images/ISIC_{:07d}.jpg", "labels/ISIC_{:07d}_Segmentation.png", top=255
    ),
    "kits19": lambda root: pairs(root, "images/case_{:05d}.nii.gz", "labels/case_{:05d}.nii.gz", 2, VOLUME),
    "msd_brain_tumour": lambda root: decathlon(root, "BRATS_{:03d}", 3, channels=4),
    "msd_colon": lambda root: decathlon(root, "colon_{:03d}", 1),
    "msd_heart": lambda root: decathlon(root, "la_{:03d}", 1),
    "msd_hepatic_vessel": lambda root: decathlon(root, "hepaticvessel_{:03d}", 2),
    "msd_hippocampus": files.hippocampi,
    "msd_liver": lambda root: decathlon(root, "liver_{}", 2),
    "msd_lung": lambda root: decathlon(root, "lung_{:03d}", 1),
    "msd_pancreas": lambda root: decathlon(root, "pancreas_{:03d}", 2),
    "msd_prostate": lambda root: decathlon(root, "prostate_{:02d}", 2, channels=2),
    "msd_spleen": lambda root: decathlon(root, "spleen_{}", 1),
    "neurite_oasis": files.oasis,
    "promise12": lambda root: pairs(root, "Case{:02d}.nii.gz", "Case{:02d}_segmentation.nii.gz", 1, VOLUME),
    "stare": lambda root: pairs(root, "images/im{:04d}.png", "labels/im{:04d}.png", top=255),
    "wbc": files.wbc,
}  # fmt: skip


def test_every_card_is_complete_in_form():
    assert set(cards.names()) == set(TREES) and len(TREES) >= 15
    for card in map(cards.find, cards.names()):
        assert card.title and card.anatomy and card.source and card.url.startswith("http")
        parts = [*card.channels, *card.labels.values()]
        assert TaskName.of(card.name, "a", "2d", "b").dataset == card.name
        assert len({TaskName.of("a", part, "2d", "b") for part in parts}) == len(parts)
        if card.layout in SOURCES or card.layout in ("camus", "oasis"):
            continue  # the reader knows whom a case shows
        assert card.subject, f"{card.name} does not say whom a case shows"


@pytest.mark.parametrize("name", sorted(TREES))
def test_every_card_builds(tmp_path, name, capsys):
    TREES[name](tmp_path / "download")
    given = ["--card", name, "--source", str(tmp_path / "download"), "--out", str(tmp_path / "store"), "--sizes", "8"]
    assert command.main([*given, "--workers", "0"]) == 0, capsys.readouterr().err
    card, store = cards.find(name), TaskStore(tmp_path / "store")
    axes = {f"axis{axis}" for axis in card.planes} or {"2d"}
    expected = {
        TaskName.of(name, channel, axis, label)
        for channel in card.channels for axis in axes for label in card.labels.values()
    }  # fmt: skip
    assert set(store) == expected
    for task in map(store.__getitem__, store):
        held = [set(task.subjects[task.splits == split].tolist()) for split in ("train", "validation", "test")]
        assert all(held) and not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    recipe = store[next(iter(store))].recipe["standardization"]
    assert recipe["ct_window"] == list(card.window or (-500, 1000))


def test_two_images_of_a_patient_share_a_subject(tmp_path):
    cine(tmp_path / "acdc")
    source = cards.applied(cards.find("acdc"), open_source(tmp_path / "acdc", "folder"))
    assert len(source.names) == 2 * CASES and set(source.subjects) == {f"patient{i:03d}" for i in range(1, CASES + 1)}
    assert source.kinds == ("mr",) and source.modalities == ("cine",)


def test_what_is_typed_goes_before_the_card(tmp_path):
    TREES["msd_liver"](tmp_path / "liver")
    arguments = ["--card", "msd_liver", "--source", str(tmp_path / "liver"), "--out", str(tmp_path / "store")]
    arguments += ["--sizes", "8", "--workers", "0", "--planes", "2", "--ct-window", "-100", "400", "--name", "mine"]
    assert command.main(arguments) == 0
    store = TaskStore(tmp_path / "store")
    assert {str(name) for name in store} == {"mine/ct/axis2/liver", "mine/ct/axis2/tumour"}
    assert store["mine/ct/axis2/liver"].recipe["standardization"]["ct_window"] == [-100, 400]


def test_the_list_of_cards(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--cards"])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and len(lines) == 1 + len(TREES)
    drive = next(line.split("\t") for line in lines if line.startswith("drive\t"))
    assert drive[2:7] == ["folder", "other", "retina", "vessel", "not known"] and "1st_manual" in drive[-1]


def test_another_set_than_the_card_says_is_refused(tmp_path, capsys):
    TREES["msd_spleen"](tmp_path / "spleen")
    for name, message in {
        "msd_lung": "case 'spleen_1' does not fit",
        "msd_prostate": "images have 1 channels ['channel 0'], card 'msd_prostate' names ['T2', 'ADC']",
        "msd_livr": "no card 'msd_livr'; did you mean 'msd_liver'",
    }.items():
        arguments = ["--card", name, "--source", str(tmp_path / "spleen"), "--out", str(tmp_path / "store")]
        assert command.main(arguments) == 2
        assert message in capsys.readouterr().err
    pairs(tmp_path / "drive", "images/2{}_training.tif", "labels/2{}_training.png", top=1)
    with pytest.raises(DataError, match=r"label values \[1\], which card 'drive' does not name .*1st_manual"):
        cards.applied(cards.find("drive"), open_source(tmp_path / "drive", "folder"))
    arguments = ["--card", "wbc", "--source", "a", "--source", "b", "--out", str(tmp_path / "store")]
    assert command.main(arguments) == 2 and "goes with one --source" in capsys.readouterr().err


GOOD = (Path(cards.__file__).parent / "msd_liver.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('layout = "decathlon"', 'layout = "decathlonn"', "unknown layout 'decathlonn'; did you mean 'decathlon'"),
        ('modality = "ct"', 'modality = "cat"', "unknown modality 'cat'"),
        ("anatomy", "anatomie", "unknown key 'anatomie'; did you mean 'anatomy'"),
        ('anatomy = "liver"\n', "", "no anatomy; an empty text"),
        ('anatomy = "liver"', 'anatomy = ""', "anatomy is empty"),
        ("licence = ", "licence = 4 #", "licence is 4, expected a text"),
        ("planes = [0, 1, 2]", "planes = [3]", "some of 0, 1, 2"),
        ("planes = [0, 1, 2]", 'planes = ["0"]', "expected a list"),
        ("window = [-250, 250]", "window = [250, -250]", "expected .low, high."),
        ('channels = ["ct"]', "channels = []", "no channels"),
        ('1 = "liver"', 'liver = "liver"', "expected whole numbers"),
        ('2 = "tumour"', '2 = "liver"', "different names"),
        (r"'(liver_\d+)'", r"'liver_\d+'", "has 0 groups"),
        (r"'(liver_\d+)'", r"'(liver_\d+'", "no regular expression"),
        ("title", "title title", "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_card_is_refused(tmp_path, old, new, message):
    assert old in GOOD
    path = tmp_path / "msd_liver.toml"
    path.write_text(GOOD)
    assert cards.read(path) == cards.find("msd_liver")
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=message):
        cards.read(path)
