"""``mmsscl report``."""
import argparse

HELP = "write one html page about a run: curves, pictures, results, warnings"
EXAMPLES = """examples:
  mmsscl report work_dirs/scrl_r50_coco
  mmsscl report work_dirs/scrl_r50_coco --out scrl.html --results work_dirs/faster_rcnn_voc/metrics.json
  mmsscl report work_dirs/scrl_r50_coco --photos 0"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("work_dir", help="folder that the training wrote its logs to; it need not have ended")
    parser.add_argument("--out", metavar="HTML", help="the page to write (default: report.html in the work dir)")
    parser.add_argument(
        "--results", nargs="+", default=[], metavar="PATH",
        help="jsons of mmsscl test and mmsscl eval, or folders of them, beside those below the work dir",
    )  # fmt: skip
    parser.add_argument(
        "--photos", type=int, default=4, metavar="N", help="pictures in each section; 0: none (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from mmsscl.visualization.report.write_report import write_report

    file = write_report(options.work_dir, options.out, options.results, options.photos)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0
