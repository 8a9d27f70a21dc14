//! Descriptions of what is served, as OpenAPI 3.1: made of rows that name the responses of each operation.

mod own;
mod parts;

pub use own::own_endpoints;
pub use parts::{Body, Operation, Response, document, list, object, optional, reference, text};
