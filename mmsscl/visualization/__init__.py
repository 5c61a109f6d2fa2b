from mmsscl.visualization.canvas import contact_sheet, distinct_colors, write_png
from mmsscl.visualization.detections import draw_detections
from mmsscl.visualization.matched_boxes import draw_original, draw_views, to_pixels

__all__ = [
    "contact_sheet",
    "distinct_colors",
    "draw_detections",
    "draw_original",
    "draw_views",
    "to_pixels",
    "write_png",
]
