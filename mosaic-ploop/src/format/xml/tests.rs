// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

/// All that XML has.
const EVERYTHING: &str = "\u{feff}<?xml version=\"1.0\" encoding='UTF-8' ?>\r\n\
    <!DOCTYPE d [ <!ENTITY e \"v\"> ]>\n<!-- before -->\n\
    <d  a = 'x>y' b=\"&lt;\" >\n\
    \t<One>1 &amp; &#50;<![CDATA[<3>]]></One ><Two/><Three />\n\
    words <i>in</i> between <!-- > --> <?p i?> &unknown;\n\
    </d>\n<!-- after -->\n";

#[test]
fn a_document_is_written_as_it_was_read() {
    let document = Document::parse(EVERYTHING).unwrap();
    assert_eq!(document.to_string(), EVERYTHING);
    assert_eq!(document.root().name(), "d");
    let names: Vec<_> = document.root().elements().map(Element::name).collect();
    assert_eq!(names, ["One", "Two", "Three", "i"]);
}

#[test]
fn text_is_unescaped_and_trimmed() {
    let document = Document::parse(EVERYTHING).unwrap();
    let one = document.root().child("One").unwrap();
    assert_eq!(one.text().unwrap(), "1 & 2<3>");
    assert_eq!(document.root().child("Two").unwrap().text().unwrap(), "");
    // A reference to something that is declared elsewhere.
    assert_eq!(document.root().text(), None);
}

#[test]
fn text_is_escaped() {
    let mut document = Document::parse("<a><b/></a>").unwrap();
    document.root_mut().set_child_text("b", "<&>", 0);
    document.root_mut().set_child_text("c", "new", 0);
    let text = document.to_string();
    assert_eq!(text, "<a><b>&lt;&amp;&gt;</b><c>new</c></a>");
    let again = Document::parse(&text).unwrap();
    assert_eq!(again.root().child("b").unwrap().text().unwrap(), "<&>");
}

#[test]
fn a_new_element_stands_like_its_neighbours() {
    let mut document = Document::parse("<a>\n <b/>\n</a>").unwrap();
    document.root_mut().push(Element::new("c"), 0);
    assert_eq!(document.to_string(), "<a>\n <b/>\n <c/>\n</a>");
    document.root_mut().remove(|element| element.name() == "b");
    assert_eq!(document.to_string(), "<a>\n <c/>\n</a>");
    for empty in ["<a />", "<a>\n</a>"] {
        let mut empty = Document::parse(empty).unwrap();
        empty.root_mut().push(Element::with_text("b", "1"), 0);
        assert_eq!(empty.to_string(), "<a>\n  <b>1</b>\n</a>");
    }
}

#[test]
fn what_is_no_document_is_refused() {
    for text in [
        "",
        "   ",
        "words",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>words",
        "<a",
        "<a><![CDATA[</a>",
        "<a>&</a>",
    ] {
        assert!(Document::parse(text).is_err(), "{text}");
    }
    let deep = |depth| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(Document::parse(&deep(MAX_DEPTH)).is_ok());
    let too_deep = Document::parse(&deep(MAX_DEPTH + 1));
    assert_eq!(too_deep, Err(XmlFault::TooDeep));
}
