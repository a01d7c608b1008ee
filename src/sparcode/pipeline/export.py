"""Composition of export: a trained run -> deployment bundle."""

from __future__ import annotations

from sparcode.config.arguments import ExportArguments
from sparcode.model.matchers.sparcode import SparCode
from sparcode.pipeline.index import PARTS, cross_index
from sparcode.pipeline.runs import build_run_index, open_run
from sparcode.pipeline.summary import summarize, warn_of_index_loss
from sparcode.serving.export.exporter import BundleReport, ExportRequest, export_bundle


def export_run(arguments: ExportArguments) -> BundleReport | None:
    """Export a run as a deployment bundle, verified by reloading it.

    Returns:
        What was verified; None in workers other than the first, which help to build the index and write
        nothing.
    """
    run = open_run(arguments.config, arguments.run_dir)
    network, served, codebooks = run.network, run.served, None
    if not isinstance(network, SparCode):
        index = cross_index(run.config, run.crosses)
    else:
        codebooks = network.term_codebooks()
        index = build_run_index(run, arguments.run_dir / PARTS).index
        summary = summarize(run.model, served, arguments.run_dir, run.world)
        if run.world.first:
            warn_of_index_loss(summary, run.config, served)
    request = ExportRequest(
        network,
        run.dataset,
        run.config,
        index,
        codebooks,
        arguments.output,
        served.crosses,
        served.posterior,
        arguments.with_histories,
    )
    verified = export_bundle(request) if run.world.first else None
    run.world.leave()
    return verified
