//! The reference document of the control interface, made from its schema.
//!
//! `runtime/API.md` is this text; a test sees to it that it is up to date. Run
//! `skep api-reference > runtime/API.md` after a change of the schema.

use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};
use skep_actors::event::NodeEvent;

use super::schema::{DhtNotice, ErrorCode, EventNotice, METHODS, ProgressNotice};
use super::{MAX_BATCH, MAX_IN_FLIGHT, MAX_REQUEST, MAX_SUBSCRIPTIONS};

/// The document, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut document = Document::default();
    document.preface();
    document.methods();
    document.notifications();
    document.errors();
    document.types();
    document.text
}

#[derive(Default)]
struct Document {
    text: String,
    generator: SchemaGenerator,
}

impl Document {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn preface(&mut self) {
        let text = format!(
            "# Control interface of Skep\n\n\
             JSON-RPC 2.0. On the unix socket (`control.sock` in the data folder) and on the standard input and \
             output of `skep run --stdio`, each request, reply and notification is one line; by WebSocket, each \
             is one text message, and the client shows its token as `Authorization: Bearer TOKEN`.\n\n\
             Parameters are given by name. A request has at most {MAX_REQUEST} bytes, a batch at most \
             {MAX_BATCH} requests. {MAX_IN_FLIGHT} requests of a connection are worked on side by side, so \
             replies may come in another order than requests. A connection has at most {MAX_SUBSCRIPTIONS} \
             subscriptions.\n\n\
             ```sh\n\
             echo '{{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"node.info\"}}' | \
             socat - UNIX-CONNECT:$HOME/.local/share/skep/control.sock\n\
             ```\n\n\
             This document is made by `skep api-reference`.\n"
        );
        self.line(text);
    }

    fn methods(&mut self) {
        self.line("## Methods\n");
        for method in METHODS {
            let _ = writeln!(self.text, "### {}\n", method.name);
            self.line(format!("{}\n", paragraphs(method.description)));
            let params = (method.params)(&mut self.generator);
            let answer = (method.answer)(&mut self.generator);
            self.object("Parameters", &params);
            self.object("Answer", &answer);
        }
    }

    fn notifications(&mut self) {
        self.line("## Notifications\n");
        self.line("### event\n\nAn event of a subscription.\n");
        let notice = EventNotice::json_schema(&mut self.generator);
        self.fields(&notice);
        self.line("### dht\n\nWhat is and comes at a key of the DHT.\n");
        let notice = DhtNotice::json_schema(&mut self.generator);
        self.fields(&notice);
        self.line("### progress\n\nHow far a request of this connection is.\n");
        let notice = ProgressNotice::json_schema(&mut self.generator);
        self.fields(&notice);
        self.line("## Events\n");
        self.line(
            "Every event has `account`, the local name of the account it concerns (zeros for the whole node), \
             `time`, in milliseconds since 1970, and `event`, one of the following, with these fields.\n",
        );
        let events = NodeEvent::json_schema(&mut self.generator);
        for event in variants(&events) {
            self.variant(event, "event");
        }
    }

    fn errors(&mut self) {
        self.line("## Errors\n");
        self.line("| Code | Name | Meaning |\n|---|---|---|");
        for (code, description) in ErrorCode::ALL {
            self.line(format!("| {} | {code:?} | {} |", code.number(), description.trim()));
        }
        self.line("");
    }

    fn types(&mut self) {
        self.line("## Types\n");
        let definitions = self.generator.definitions().clone();
        for (name, definition) in &definitions {
            let Some(definition) = definition.as_object() else { continue };
            if name == "NodeEvent" || is_plain_params(name) {
                continue;
            }
            self.line(format!("### {name}\n"));
            if let Some(description) = text(definition, "description") {
                self.line(format!("{description}\n"));
            }
            let schema = Schema::from(definition.clone());
            let variants: Vec<_> = variants(&schema).cloned().collect();
            if variants.is_empty() {
                self.fields(&schema);
            } else {
                for variant in &variants {
                    self.variant(variant, "kind");
                }
            }
        }
        while self.text.ends_with("\n\n") {
            self.text.pop();
        }
    }

    /// Parameters or answer of a method: its fields if they are its own, or the type's name.
    fn object(&mut self, title: &str, schema: &Schema) {
        let Some(name) = reference(schema.as_value()) else { return };
        if name == "Nothing" || name == "Done" {
            let _ = writeln!(self.text, "{title}: none.\n");
        } else if is_plain_params(&name) {
            let definition = self.generator.definitions().get(&name).and_then(Value::as_object).cloned();
            let _ = writeln!(self.text, "{title}:\n");
            self.fields(&Schema::from(definition.unwrap_or_default()));
        } else {
            let _ = writeln!(self.text, "{title}: {}.\n", link(&name));
        }
    }

    fn variant(&mut self, variant: &Value, tag: &str) {
        let Some(object) = variant.as_object() else { return };
        let name = object
            .get("properties")
            .and_then(|properties| properties.get(tag))
            .and_then(|tag| tag.get("const"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        self.line(format!("#### `{name}`\n"));
        if let Some(description) = text(object, "description") {
            self.line(format!("{description}\n"));
        }
        let mut object = object.clone();
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.remove(tag);
        }
        self.fields(&Schema::from(object));
    }

    fn fields(&mut self, schema: &Schema) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        if properties.is_empty() {
            return;
        }
        let required: Vec<_> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        self.line("| Field | Type | |\n|---|---|---|");
        for (name, property) in properties {
            let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
            let optional = if required.contains(&name.as_str()) { "" } else { "Optional. " };
            let kind = kind(property);
            self.line(format!("| `{name}` | {kind} | {optional}{} |", description.replace('\n', " ")));
        }
        self.line("");
    }
}

/// Parameters are shown where they are used, not among the types.
fn is_plain_params(name: &str) -> bool {
    name.ends_with("Params") || matches!(name, "Nothing" | "Done" | "SubscriptionRef" | "Secret")
}

fn variants(schema: &Schema) -> impl Iterator<Item = &Value> {
    schema.get("oneOf").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn paragraphs(description: &str) -> String {
    description.lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn reference(schema: &Value) -> Option<String> {
    schema.get("$ref")?.as_str()?.rsplit('/').next().map(str::to_owned)
}

fn link(name: &str) -> String {
    format!("[{name}](#{})", name.to_lowercase())
}

/// A type in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return match name.as_str() {
            "Secret" => "string".to_owned(),
            "NodeEvent" => "[event](#events)".to_owned(),
            _ => link(&name),
        };
    }
    if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
        let options: Vec<_> = options.iter().map(kind).collect();
        return options.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(name)) if name == "array" => {
            format!("list of {}", schema.get("items").map_or_else(String::new, kind))
        }
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_the_tree_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/API.md");
        let stored = std::fs::read_to_string(path).unwrap();
        assert!(stored == markdown(), "run: skep api-reference > runtime/API.md");
    }

    #[test]
    fn every_method_event_and_error_is_described() {
        let text = markdown();
        for method in METHODS {
            assert!(text.contains(&format!("### {}\n", method.name)));
        }
        for event in ["`message`", "`missed`", "`contact_request`", "-32700"] {
            assert!(text.contains(event), "{event}");
        }
    }
}
