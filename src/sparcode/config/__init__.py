"""Typed configuration: schema, loader and command lines."""

from sparcode.config.loader import config_differences, dump_config, load_config
from sparcode.config.schema import Config

__all__ = ["Config", "config_differences", "dump_config", "load_config"]
