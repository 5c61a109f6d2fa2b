"""The embedded scene set: pixels, boxes and masks that agree, determinism, and reading it as COCO."""
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmsscl.datasets.toy_difficulty import DIFFICULTIES
from mmsscl.datasets.toy_renderer import render_scene
from mmsscl.datasets.toy_scenes import MANIFEST, ToySceneFolder, mask_to_polygons, write_toy_scenes
from mmsscl.errors import InputError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=list(DIFFICULTIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ToySceneFolder:
    root = tmp_path_factory.mktemp(f"toy_{request.param}")
    return write_toy_scenes(root, train=30, val=6, unlabeled=4, size=None, difficulty=request.param)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rasterise(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))).astype(bool)


def test_annotations_read_with_pycocotools_agree_with_the_rendered_masks(folder: ToySceneFolder) -> None:
    coco = COCO(str(folder.annotations("train")))
    difficulty = folder.root.name.split("_")[1].rstrip("0123456789")
    assert len(coco.imgs) == 30
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(folder.classes)
    for image in coco.imgs.values():
        scene = render_scene(image["id"] - 1, "train", image["width"], difficulty)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(annotations) == len(scene.masks) >= 1
        for annotation, mask, label in zip(annotations, scene.masks, scene.labels):
            decoded = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(decoded)
            x, y, width, height = annotation["bbox"]
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(tight, (x, y, x + width, y + height), atol=1)
            assert annotation["area"] == mask.sum()
            assert (decoded & mask).sum() / (decoded | mask).sum() > 0.99
            assert annotation["category_id"] == label + 1
            assert annotation["iscrowd"] == 0
            assert all(isinstance(c, float) for polygon in annotation["segmentation"] for c in polygon)


def test_images_on_disk_are_the_rendered_ones(folder: ToySceneFolder) -> None:
    difficulty = folder.root.name.split("_")[1].rstrip("0123456789")
    scene = render_scene(3, "val", None, difficulty)
    read = cv2.imread(str(folder.images("val") / "000003.jpg"))[..., ::-1].astype(int)
    assert read.shape == scene.image.shape
    # JPEG at quality 90 halves the color's resolution; swapped channels or another scene differ by far more
    assert np.abs(read - scene.image).mean() < 8
    assert np.abs(read[..., ::-1] - scene.image).mean() > 12


def test_unlabeled_split_has_images_only(folder: ToySceneFolder) -> None:
    document = json.loads(folder.annotations("unlabeled").read_text())
    assert len(document["images"]) == 4
    assert document["annotations"] == []
    assert (folder.images("unlabeled") / document["images"][-1]["file_name"]).is_file()


def test_read_by_mmdet_as_coco(folder: ToySceneFolder) -> None:
    import mmsscl  # noqa: F401 (serves mmcv's compiled operators)

    pytest.importorskip("mmdet")
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    from mmdet.structures.mask import PolygonMasks
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = CocoDataset(
            data_root=str(folder.root), ann_file="annotations/train.json", data_prefix={"img": "train/"},
            metainfo={"classes": folder.classes}, pipeline=[],
        )  # fmt: skip
    assert len(dataset) == 30
    sample = dataset.get_data_info(5)
    assert Path(sample["img_path"]).is_file()
    results = LoadAnnotations(with_bbox=True, with_mask=True, poly2mask=False, box_type=None)(
        dict(sample, ori_shape=(sample["height"], sample["width"]))
    )
    assert isinstance(results["gt_masks"], PolygonMasks)
    coco = COCO(str(folder.annotations("train")))
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=sample["img_id"]))
    np.testing.assert_allclose(results["gt_masks"].areas, [a["area"] for a in annotations], rtol=0.02, atol=2)
    # mmdet scales polygons in place: integers would be cut off
    scaled = results["gt_masks"].resize((300, 300))
    factor = (300 / sample["width"]) ** 2
    np.testing.assert_allclose(scaled.areas, results["gt_masks"].areas * factor, rtol=1e-3)


def test_same_seed_same_bytes_and_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_toy_scenes(tmp_path / name, train=4, val=2, unlabeled=2, size=64, seed=seed)
    first, again, other = (files(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith(".jpg"))


def test_an_image_does_not_depend_on_how_many_are_rendered(tmp_path: Path) -> None:
    few = write_toy_scenes(tmp_path / "few", train=5, size=64)
    many = write_toy_scenes(tmp_path / "many", train=10, val=3, size=64)
    names = [f"{index:06d}.jpg" for index in range(5)]
    assert all((few.images("train") / n).read_bytes() == (many.images("train") / n).read_bytes() for n in names)
    in_few, in_many = (json.loads(f.annotations("train").read_text())["annotations"] for f in (few, many))
    assert in_few == in_many[: len(in_few)]


def test_splits_share_no_image(tmp_path: Path) -> None:
    folder = write_toy_scenes(tmp_path / "toy", train=3, val=3, unlabeled=3, size=64)
    images = [path.read_bytes() for path in folder.root.rglob("*.jpg")]
    assert len(set(images)) == 9


def test_class_and_object_statistics_of_easy() -> None:
    scenes = [render_scene(index, size=64) for index in range(400)]
    labels = np.concatenate([scene.labels for scene in scenes])
    # 3 standard deviations of a binomial count
    share = np.bincount(labels, minlength=3) / len(labels)
    assert np.all(np.abs(share - 1 / 3) < 3 * np.sqrt(2 / 9 / len(labels)) + 0.01), share
    objects = np.bincount([len(scene.labels) for scene in scenes], minlength=5)
    assert objects[0] == 0
    assert len(objects) == 5
    assert objects[1:4].min() > 60
    sides = np.concatenate([scene.boxes[:, 2:].max(1) for scene in scenes]) / 64
    assert sides.min() > 0.15
    assert sides.max() < 0.5


def test_color_tells_nothing_about_the_class() -> None:
    means: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    for index in range(300):
        scene = render_scene(index, size=64)
        for label, mask in zip(scene.labels, scene.masks):
            means[int(label)].append(scene.image[mask].mean(0))
    averages = np.array([np.mean(values, 0) for values in means.values()])
    errors = np.array([np.std(values, 0) / np.sqrt(len(values)) for values in means.values()])
    assert np.abs(averages - averages.mean(0)).max() < 3.5 * errors.max()


@pytest.mark.parametrize("difficulty", list(DIFFICULTIES))
def test_masks_are_visible_parts(difficulty: str) -> None:
    occluded = 0
    for index in range(40):
        scene = render_scene(index, difficulty=difficulty)
        assert scene.image.dtype == np.uint8
        assert scene.masks.sum(0).max() == 1
        for box, mask in zip(scene.boxes, scene.masks):
            x, y, width, height = box.astype(int)
            assert mask.sum() == mask[y : y + height, x : x + width].sum() > 0
            assert mask[y].any()
            assert mask[y + height - 1].any()
            assert mask[:, x].any()
            assert mask[:, x + width - 1].any()
        dilated = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) for mask in scene.masks]
        occluded += int(np.sum(dilated, axis=0).max() > 1)
    assert occluded > (5 if difficulty == "easy" else 15)


def test_objects_stand_out_from_the_background() -> None:
    """What the masks cover differs from the background: pixels and masks belong together."""
    inside, outside = [], []
    for index in range(40):
        scene = render_scene(index)
        gray = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY)
        edges = np.abs(cv2.Laplacian(cv2.GaussianBlur(gray, (0, 0), 1.0), cv2.CV_32F))
        covered = scene.masks.any(0)
        inside.append(edges[covered].mean())
        outside.append(edges[~cv2.dilate(covered.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool)].mean())
    assert np.median(np.array(inside) / np.array(outside)) > 5


@pytest.mark.parametrize("seed", range(4))
def test_polygons_of_random_masks_are_exact(seed: int) -> None:
    """Against pycocotools' rasteriser, with holes, diagonal touches, single pixels and pixels on the border."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((40, 52)).astype(np.float32), (0, 0), 1.0 + seed)
    mask = noise > np.quantile(noise, 0.6)
    polygons = mask_to_polygons(mask)
    decoded = rasterise(polygons, *mask.shape)
    assert (decoded & mask).sum() / (decoded | mask).sum() > 0.98
    shoelace = sum(
        abs(np.dot(p[0::2], np.roll(p[1::2], -1)) - np.dot(p[1::2], np.roll(p[0::2], -1))) / 2 for p in polygons
    )
    assert shoelace == mask.sum()


def test_polygons_of_a_ring_leave_the_hole_out() -> None:
    mask = np.zeros((20, 20), bool)
    mask[3:15, 4:17] = True
    mask[7:10, 8:12] = False
    decoded = rasterise(mask_to_polygons(mask), 20, 20)
    np.testing.assert_array_equal(decoded, mask)


def test_polygons_of_an_empty_mask() -> None:
    assert mask_to_polygons(np.zeros((8, 8), bool)) == []


def test_complete_folder_is_reused_and_others_are_rendered_anew(tmp_path: Path) -> None:
    root = tmp_path / "toy"
    settings = {"train": 3, "val": 2, "unlabeled": 2, "size": 64}
    assert write_toy_scenes(root, **settings).rendered
    before = files(root)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*.jpg")}
    assert not write_toy_scenes(root, **settings).rendered
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.jpg")} == stamps

    (root / "val" / "000001.jpg").unlink()
    assert write_toy_scenes(root, **settings).rendered
    assert files(root) == before

    smaller = write_toy_scenes(root, train=2, val=2, unlabeled=2, size=64)
    assert smaller.rendered
    assert sorted(path.name for path in smaller.images("train").iterdir()) == ["000000.jpg", "000001.jpg"]
    assert write_toy_scenes(root, train=2, val=2, unlabeled=2, size=64, seed=5).rendered


def test_interrupted_rendering_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmsscl.datasets.toy_scenes as module

    def stop_at_third(index: int, *arguments: object) -> object:
        if index == 2:
            raise KeyboardInterrupt
        return render_scene(index, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "render_scene", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            write_toy_scenes(tmp_path / "toy", train=4, size=64)
    assert not (tmp_path / "toy" / MANIFEST).exists()
    assert write_toy_scenes(tmp_path / "toy", train=4, size=64).rendered
    write_toy_scenes(tmp_path / "whole", train=4, size=64)
    assert files(tmp_path / "toy") == files(tmp_path / "whole")


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    photo = tmp_path / "train" / "000001.jpg"
    photo.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"holds files that are not a scene set.*empty or new folder"):
        write_toy_scenes(tmp_path, train=2, size=64)
    assert photo.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": 0}, "asks for no images"),
        ({"train": -1, "val": 2}, "asks for no images"),
        ({"train": 1, "size": 8}, "size=8"),
        ({"train": 1, "difficulty": "extreme"}, "'extreme'.*easy, medium, hard"),
        ({"train": 1, "seed": -1}, "seed=-1"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_toy_scenes(tmp_path / "toy", **settings)
    assert not (tmp_path / "toy").exists()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("text")
    with pytest.raises(InputError, match="is a file"):
        write_toy_scenes(tmp_path / "toy", train=1)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    spec = importlib.util.spec_from_file_location("make_toy_scenes", REPOSITORY / "tools/data/make_toy_scenes.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = [str(tmp_path / "toy"), "--train", "2", "--val", "1", "--unlabeled", "1", "--difficulty", "hard"]
    assert tool.main(arguments) == 0
    assert "rendered 2 train, 1 val, 1 unlabeled" in capsys.readouterr().out
    assert tool.main(arguments) == 0
    assert "already complete" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "toy" / "train" / "000001.jpg")).shape == (160, 160, 3)
    assert tool.main([*arguments, "--size", "5"]) == 2
    assert "error: size=5" in capsys.readouterr().err
