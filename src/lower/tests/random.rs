//! Random expressions: value against a plain evaluation, gradient against finite differences.
