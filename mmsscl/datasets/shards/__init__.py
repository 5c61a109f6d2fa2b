"""Photos in tar files (shards, as webdataset calls them): few large files in place of many small ones."""
from mmsscl.datasets.shards.address import TarAddress
from mmsscl.datasets.shards.backend import TarBackend
from mmsscl.datasets.shards.index import ShardIndex
from mmsscl.datasets.shards.photo_shards import PhotoShards

__all__ = ["PhotoShards", "ShardIndex", "TarAddress", "TarBackend"]
