"""Exact filters: item attributes, predicates over them, and the bitsets that a search reads."""

from sparcode.index.filters.attribute_columns import category, category_set, coded, number
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.filters.compiler import FilterCompiler
from sparcode.index.filters.predicate_parser import parse_predicate
from sparcode.index.filters.predicates import And, Compare, Has, In, Not, Or, Predicate

__all__ = [
    "And",
    "Compare",
    "FilterCompiler",
    "Has",
    "In",
    "ItemAttributes",
    "Not",
    "Or",
    "Predicate",
    "category",
    "category_set",
    "coded",
    "number",
    "parse_predicate",
]
