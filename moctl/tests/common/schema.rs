// SPDX-License-Identifier: MIT OR Apache-2.0
//! As much of JSON Schema as `doc/json-schema.json` uses. A word that is not known here is an
//! error: nothing in the file is without effect.

use std::collections::BTreeSet;

use serde_json::Value;

/// A schema file.
pub struct Schema {
    root: Value,
}

impl Schema {
    /// The schema of what `moctl` prints.
    pub fn of_moctl() -> Self {
        let text = super::repository_file("doc/json-schema.json");
        Self {
            root: serde_json::from_str(&text).expect("the schema is JSON"),
        }
    }

    /// The names of the objects that can stand alone.
    pub fn objects(&self) -> BTreeSet<String> {
        let choices = self.root["oneOf"].as_array().expect("oneOf");
        let name = |choice: &Value| choice["$ref"].as_str().unwrap().replace("#/$defs/", "");
        choices.iter().map(name).collect()
    }

    /// The one object that a value is.
    pub fn object_of(&self, value: &Value) -> Result<String, String> {
        let mut faults = Vec::new();
        let mut fitting = Vec::new();
        for name in self.objects() {
            match self.check(value, &self.root["$defs"][&name], &name) {
                Ok(()) => fitting.push(name),
                Err(fault) => faults.push(fault),
            }
        }
        match fitting.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(format!("{value} fits nothing:\n{}", faults.join("\n"))),
            several => Err(format!("{value} fits {several:?}")),
        }
    }

    fn check(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        for (word, rule) in schema.as_object().expect("a schema is an object") {
            let fits = match word.as_str() {
                "$ref" => {
                    let name = rule.as_str().unwrap().replace("#/$defs/", "");
                    let target = &self.root["$defs"][&name];
                    assert!(target.is_object(), "{at}: no definition {name}");
                    self.check(value, target, at)?;
                    true
                }
                "const" => value == rule,
                "enum" => rule.as_array().unwrap().contains(value),
                "type" => match rule {
                    Value::Array(types) => types.iter().any(|t| is_type(value, t)),
                    one => is_type(value, one),
                },
                "minimum" => value.as_i64().is_none_or(|n| n >= rule.as_i64().unwrap()),
                "oneOf" => {
                    let choices = rule.as_array().unwrap().iter();
                    choices.filter(|s| self.check(value, s, at).is_ok()).count() == 1
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(item, rule, &format!("{at}[{n}]"))?;
                    }
                    true
                }
                "properties" => self.check_properties(value, rule, at)?,
                "required" => {
                    let names = rule.as_array().unwrap();
                    let missing = names
                        .iter()
                        .find(|n| value.get(n.as_str().unwrap()).is_none());
                    match missing {
                        Some(missing) => return Err(format!("{at}: {missing} is missing")),
                        None => true,
                    }
                }
                "additionalProperties" => self.check_others(value, schema, rule, at)?,
                unknown => panic!("{at}: schema word {unknown}"),
            };
            if !fits {
                return Err(format!("{at}: {value} breaks {word} {rule}"));
            }
        }
        Ok(())
    }

    fn check_properties(&self, value: &Value, rules: &Value, at: &str) -> Result<bool, String> {
        for (name, rule) in rules.as_object().unwrap() {
            if let Some(field) = value.get(name) {
                self.check(field, rule, &format!("{at}.{name}"))?;
            }
        }
        Ok(true)
    }

    fn check_others(
        &self,
        value: &Value,
        schema: &Value,
        rule: &Value,
        at: &str,
    ) -> Result<bool, String> {
        for (name, field) in value.as_object().into_iter().flatten() {
            if schema["properties"].get(name).is_some() {
                continue;
            }
            match rule {
                Value::Bool(false) => return Err(format!("{at}: {name} is not in the schema")),
                rule => self.check(field, rule, &format!("{at}.{name}"))?,
            }
        }
        Ok(true)
    }
}

fn is_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("schema type {other}"),
    }
}
