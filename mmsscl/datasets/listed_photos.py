"""The photos that one path on a command line stands for."""
import glob
import os

from mmsscl.datasets.photo_files import find_photos
from mmsscl.datasets.scene_images import EXTENSIONS, SceneImages
from mmsscl.errors import InputError


def listed_photos(path: str, root: str | None = None) -> list[str]:
    """The photos of a folder, a list file, a COCO json or tar files, as ``SceneImages`` finds them; none has to exist.

    Args:
        path: A folder of photos, or of tar files and no photos; a tar file; a text file; a json.
        root: What the paths in a list or json are relative to; ``None``: the folder of that file.

    Raises:
        InputError: There is no such folder or file, or it is not what its name says.
    """
    if root is not None and (os.path.isdir(path) or path.endswith(".tar")):
        raise InputError(f"--root {root}: {path} is no list of paths and needs none. Leave it out.")
    if os.path.isdir(path):
        shards = glob.glob("*.tar", root_dir=path)
        in_shards = shards and next(find_photos(path, EXTENSIONS), None) is None
        photos = SceneImages(data_root=path, shards="*.tar" if in_shards else ())
    elif path.endswith(".tar"):
        photos = SceneImages(data_root=os.path.dirname(path), shards=os.path.basename(path))
    else:
        folder = os.path.dirname(os.path.abspath(path)) if root is None else root
        photos = SceneImages(data_root=folder, ann_file=os.path.abspath(path), check_files=False)
    return [photos.path(index) for index in range(len(photos))]
