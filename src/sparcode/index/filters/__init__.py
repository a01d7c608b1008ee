"""Exact filters: item attributes, predicates over them, and the bitsets that a search reads."""

from sparcode.index.filters.attribute_columns import category, category_set, coded, number
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.filters.compiler import FilterCompiler
from sparcode.index.filters.predicate_parser import parse_predicate
from sparcode.index.filters.predicates import And, Compare, Has, In, Missing, Not, Or, Predicate, Under

__all__ = [
    "And",
    "Compare",
    "FilterCompiler",
    "Has",
    "In",
    "ItemAttributes",
    "Missing",
    "Not",
    "Or",
    "Predicate",
    "Under",
    "category",
    "category_set",
    "coded",
    "number",
    "parse_predicate",
]
