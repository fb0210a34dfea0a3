"""The command line: reconstruct, inspect, simulate, render.

Every command ends with one of the exit codes of ExitCode, and a failure with one or two lines on stderr. The
engine is imported inside the commands, so that --help and a wrong argument answer at once.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from VesselFlowGSLib import __version__
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.failures import ExitCode, explain
from VesselFlowGSLib.startup import let_threads_rest, stop_on_signals

VESSELS = ("stenosis", "bend", "aneurysm", "bifurcation")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. arguments: those of the process by default."""
    if arguments is None:
        stop_on_signals()
    let_threads_rest()
    options: argparse.Namespace | None = None
    try:
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], None] = options.command
        command(options)
    except SystemExit as end:  # argparse, after --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt as stop:
        return _end(ExitCode.CANCELLED, _cancelled(options), stop, options)
    except Exception as error:
        code, message = explain(error, "what the same command prints with --debug")
        return _end(code, message, error, options)
    return ExitCode.DONE


def _cancelled(options: argparse.Namespace | None) -> str:
    if options is not None and options.command is _reconstruct:
        out = options.out
        if not any((folder / "checkpoint.npz").is_file() for folder in (out, out / ".unfinished")):
            return "Cancelled, before the vessel was found: nothing was computed that could be kept."
        return (
            f"Cancelled. What was computed so far is kept in {out}; to go on from there: "
            f"vesselflowgs reconstruct {options.study} -o {out} --resume"
        )
    return "Cancelled."


def _end(code: ExitCode, message: str, error: BaseException, options: argparse.Namespace | None) -> int:
    if options is not None and options.debug:
        traceback.print_exception(error)
    print(f"vesselflowgs: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Raises InputError for a wrong argument, instead of printing its whole usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vesselflowgs",
        description="Blood velocity and pressure from X-ray angiography. For research use only.",
        epilog="Exit codes: 0 done; 1 failed; 2 wrong input; 3 cancelled; 4 out of memory or disk; "
        "5 wrong installation.",
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="print the traceback of a failure")
    parser.add_argument("--version", action="version", version=f"VesselFlowGS {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    command = _command(commands, "reconstruct", _reconstruct, "geometry, velocity and pressure from a study")
    command.add_argument("study", type=Path, metavar="STUDY", help="folder with the scanner's files")
    command.add_argument("-o", dest="out", type=Path, metavar="OUT", required=True, help="folder for the result")
    command.add_argument("--settings", type=Path, metavar="FILE.toml", help="settings that differ from the defaults")
    command.add_argument("--preset", metavar="NAME", help="settings for a kind of vessel")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    command.add_argument(
        "--quality", choices=("preview", "standard", "fine"), default="standard", help="default: standard"
    )
    command.add_argument("--seed", type=_seed, metavar="N", default=0, help="of all random draws; default: 0")
    command.add_argument("--resume", action="store_true", help="go on from what OUT holds of a stopped run")

    command = _command(commands, "inspect", _inspect, "what a study holds, lacks, and what will be assumed")
    command.add_argument("study", type=Path, metavar="STUDY", help="folder with the scanner's files")

    command = _command(commands, "simulate", _simulate, "a study with known truth beside it")
    command.add_argument("-o", dest="out", type=Path, metavar="STUDY", required=True, help="folder for the study")
    command.add_argument("--vessel", choices=VESSELS, required=True, help="shape of the vessel")
    command.add_argument("--seed", type=_seed, metavar="N", default=0, help="of all random draws; default: 0")
    command.add_argument(
        "--set",
        dest="changes",
        type=_change,
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a setting of the simulation, as severity=0.5; may be repeated",
    )

    command = _command(commands, "render", _render, "a picture of a result")
    command.add_argument("out", type=Path, metavar="OUT", help="folder with the result")
    command.add_argument("-o", dest="picture", type=Path, metavar="PICTURE.png", required=True)
    command.add_argument(
        "--as",
        dest="kind",
        choices=("surface", "streamlines", "gaussians"),
        help="default: streamlines, or the surface where the flow is unknown",
    )
    command.add_argument("--colour", choices=("speed", "pressure", "wss"), help="default: what suits the picture")
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, run: Callable[[argparse.Namespace], None], text: str
) -> _Parser:
    command: _Parser = commands.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    command.set_defaults(command=run)
    return command


def _reconstruct(options: argparse.Namespace) -> None:
    from VesselFlowGSLib.acquisition.reader import read_study
    from VesselFlowGSLib.reconstruction.checkpoint import load_checkpoint
    from VesselFlowGSLib.reconstruction.reconstruct import reconstruct
    from VesselFlowGSLib.reconstruction.settings import load_settings
    from VesselFlowGSLib.results.export import ResultFolder
    from VesselFlowGSLib.terminal import Progress, summarise

    settings = load_settings(options.settings, options.preset, options.quality, options.device, options.seed)
    last = None
    with ResultFolder(options.out) as result, Progress(f"reading {options.study}") as progress:
        study = read_study(options.study)
        for note in study.notes:
            progress.note(f"      {note}")
        start = load_checkpoint(options.out) if options.resume else None
        if options.resume and start is None:
            progress.note(f"{options.out} holds no usable checkpoint: starting anew")
        for snapshot in reconstruct(study, settings, start, lambda step: progress.between(step.part, step.doing)):
            result.write(snapshot)
            progress.show(snapshot.stage.value, snapshot.progress, snapshot.message)
            last = snapshot
    if last is not None:
        print(summarise(last, options.study, options.out))


def _inspect(options: argparse.Namespace) -> None:
    from VesselFlowGSLib.acquisition.inspection import describe, inspect_study

    print(describe(inspect_study(options.study)))


def _simulate(options: argparse.Namespace) -> None:
    from VesselFlowGSLib.simulation.settings import settings_for
    from VesselFlowGSLib.simulation.simulate import simulate
    from VesselFlowGSLib.terminal import Progress

    settings = settings_for(options.vessel, **{"seed": options.seed, **dict(options.changes)})
    with Progress("simulating") as progress:
        simulate(settings, options.out, lambda what, part: progress.show("simulation", part, what))
    print(f"{options.out}: a simulated study ({options.vessel}); what is true of it is in {options.out / 'truth'}")


def _render(options: argparse.Namespace) -> None:
    from VesselFlowGSLib.results.export import read_result
    from VesselFlowGSLib.results.picture import render_result

    render_result(read_result(options.out), options.picture, options.kind, options.colour)
    print(options.picture)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _change(text: str) -> tuple[str, Any]:
    """NAME=VALUE, with the value as TOML writes it."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as severity=0.5 is") from None
