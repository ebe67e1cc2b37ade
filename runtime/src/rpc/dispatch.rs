//! JSON-RPC 2.0: what a text asks for, and the one reply to each request in it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::{Map, Value, json};

use super::schema::{self, ErrorCode, RpcError};
use super::server::Server;
use super::session::{Caller, Session};
use super::{MAX_BATCH, MAX_REQUEST};

/// Does what a text asks for, and queues the reply, if there is one.
pub(super) async fn answer(server: &Server, session: &Arc<Session>, text: &[u8]) {
    let mut callers = Vec::new();
    let reply = match serde_json::from_slice(text) {
        Err(error) => Some(refusal(Value::Null, &RpcError::new(ErrorCode::Parse, error.to_string()))),
        Ok(Value::Array(batch)) => answer_batch(server, session, batch, &mut callers).await,
        Ok(request) => answer_one(server, session, request, &mut callers).await,
    };
    if let Some(reply) = reply {
        session.send(reply.to_string()).await;
    }
    callers.iter().for_each(Caller::replied);
}

/// The reply to a request that was too long to be read.
pub(super) fn too_long() -> String {
    let message = format!("the request is longer than the {MAX_REQUEST} bytes that are read");
    refusal(Value::Null, &RpcError::new(ErrorCode::InvalidRequest, message)).to_string()
}

async fn answer_batch(
    server: &Server,
    session: &Arc<Session>,
    batch: Vec<Value>,
    callers: &mut Vec<Caller>,
) -> Option<Value> {
    if batch.is_empty() || batch.len() > MAX_BATCH {
        let message = format!("a batch has 1 to {MAX_BATCH} requests, this one has {}", batch.len());
        return Some(refusal(Value::Null, &RpcError::new(ErrorCode::InvalidRequest, message)));
    }
    let mut replies = Vec::with_capacity(batch.len());
    for request in batch {
        replies.extend(answer_one(server, session, request, callers).await);
    }
    (!replies.is_empty()).then_some(Value::Array(replies))
}

async fn answer_one(
    server: &Server,
    session: &Arc<Session>,
    request: Value,
    callers: &mut Vec<Caller>,
) -> Option<Value> {
    let request = match Request::read(request) {
        Ok(request) => request,
        Err((id, error)) => return Some(refusal(id, &error)),
    };
    let caller = Caller::new(session, request.id.clone().unwrap_or_default());
    let result = match request.params {
        Ok(params) => {
            let call = schema::call(server, &caller, &request.method, params);
            // The panic hook has logged it; the caller learns that there will be nothing more.
            AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
                let message = "the node failed while it did this; its log says why";
                Err(RpcError::new(ErrorCode::Internal, message))
            })
        }
        Err(error) => Err(error),
    };
    server.counters().count(result.is_err());
    callers.push(caller);
    let id = request.id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => refusal(id, &error),
    })
}

fn refusal(id: Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

/// A request, or a notification if it has no id.
struct Request {
    id: Option<Value>,
    method: String,
    params: Result<Value, RpcError>,
}

impl Request {
    /// Reads a request; the error comes with the id to reply to, as far as there is one.
    fn read(value: Value) -> Result<Self, (Value, RpcError)> {
        let wrong = |id: &Option<Value>, message: &str| {
            (id.clone().unwrap_or_default(), RpcError::new(ErrorCode::InvalidRequest, message))
        };
        let Value::Object(mut object) = value else {
            return Err(wrong(&None, "a request is an object"));
        };
        let id = object.remove("id");
        if id.as_ref().is_some_and(|id| !matches!(id, Value::Null | Value::Number(_) | Value::String(_))) {
            return Err(wrong(&None, "the id of a request is a number, a text or null"));
        }
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(wrong(&id, "a request says \"jsonrpc\": \"2.0\""));
        }
        let Some(Value::String(method)) = object.remove("method") else {
            return Err(wrong(&id, "a request names its method"));
        };
        let params = match object.remove("params") {
            None => Ok(Value::Object(Map::new())),
            Some(Value::Object(params)) => Ok(Value::Object(params)),
            Some(Value::Array(params)) if params.is_empty() => Ok(Value::Object(Map::new())),
            Some(Value::Array(_)) => {
                Err(RpcError::new(ErrorCode::InvalidParams, "parameters are given by name, in an object"))
            }
            Some(_) => return Err(wrong(&id, "the parameters of a request are an object")),
        };
        Ok(Self { id, method, params })
    }
}
