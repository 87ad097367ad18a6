//! Damaged and malicious files give errors, not panics.

use crate::common::{Builder, int, ints, network, raw_tensor};
use fewbits_onnx::proto::StringStringEntryProto;
use fewbits_onnx::{Error, read, read_bytes};

#[test]
fn truncated_files_are_refused() {
    let bytes = network().bytes();
    for length in 0..bytes.len() {
        assert!(read_bytes(bytes[..length].to_vec(), None).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn flipped_bits_do_not_panic() {
    let bytes = network().bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(n).unwrap()).unwrap()
    };
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(3) {
            let at = random(damaged.len());
            damaged[at] ^= 1 << random(8);
        }
        match read_bytes(damaged, None) {
            // What is read must be a graph that can be written, or refused in words.
            Ok(graph) => drop(fewbits_onnx::to_bytes(&graph)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "only {refused} of 20000 were refused");
}

#[test]
fn cycles_are_found() {
    let error = Builder::new(13)
        .input("x", 1, &[1])
        .node("Add", &["x", "b"], &["a"], vec![])
        .node("Relu", &["a"], &["b"], vec![])
        .output("b")
        .read()
        .unwrap_err();
    assert!(matches!(error, Error::Graph(fewbits_graph::Error::Cycle { .. })), "{error}");
}

#[test]
fn long_chains_do_not_overflow_the_stack() {
    let mut model = Builder::new(13).input("x", 1, &[1]);
    let count = 20_000;
    for i in (0..count).rev() {
        let input = if i == 0 { "x".to_owned() } else { format!("v{i}") };
        model = model.node("Relu", &[&input], &[&format!("v{}", i + 1)], vec![]);
    }
    let graph = model.output(&format!("v{count}")).read().unwrap();
    assert_eq!(graph.nodes.len(), count);
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_allocated() {
    for dims in [&[i64::MAX, i64::MAX][..], &[1 << 40], &[-1], &[i64::MIN]] {
        let model = Builder::new(13).input("x", 1, &[1]).raw("w", 1, dims, vec![0; 4]);
        let error = model.node("Add", &["x", "w"], &["y"], vec![]).output("y").read().unwrap_err();
        assert!(matches!(error, Error::Tensor { .. }), "{dims:?}: {error}");
    }
    let conv = |attributes| {
        let model = Builder::new(13).input("x", 1, &[1, 1, 8, 8]).floats("w", &[1, 1, 3, 3], &[0.0; 9]);
        model.node("Conv", &["x", "w"], &["y"], attributes).output("y").read()
    };
    assert!(conv(vec![]).is_ok());
    for attributes in [
        vec![ints("pads", &[i64::MAX; 4])],
        vec![ints("pads", &[-1; 4])],
        vec![ints("strides", &[0, 1])],
        vec![ints("dilations", &[i64::MAX, 1])],
        vec![int("group", 0)],
        vec![int("group", i64::MIN)],
    ] {
        assert!(conv(attributes.clone()).is_err(), "{attributes:?}");
    }
}

#[test]
fn undefined_and_doubly_defined_values_are_refused() {
    let undefined = Builder::new(13).input("x", 1, &[1]).node("Relu", &["nothing"], &["y"], vec![]).output("y").read();
    assert!(matches!(undefined, Err(Error::Graph(fewbits_graph::Error::Undefined { .. }))));
    let model = Builder::new(13).input("x", 1, &[1]).node("Relu", &["x"], &["y"], vec![]);
    let twice = model.node("Abs", &["x"], &["y"], vec![]).output("y").read();
    assert!(matches!(twice, Err(Error::Graph(fewbits_graph::Error::TwoProducers { .. }))));
    let missing = Builder::new(13).input("x", 1, &[1]).output("y").read();
    assert!(matches!(missing, Err(Error::Graph(fewbits_graph::Error::MissingOutput { .. }))));
}

fn external(location: &str, entries: &[(&str, &str)]) -> Builder {
    let mut model = Builder::new(13).input("x", 1, &[2]).node("Add", &["x", "w"], &["y"], vec![]).output("y");
    let mut w = raw_tensor("w", 1, &[2], Vec::new());
    w.raw_data = None;
    w.data_location = Some(1);
    let entries = [("location", location)].into_iter().chain(entries.iter().copied());
    w.external_data =
        entries.map(|(key, value)| StringStringEntryProto { key: key.into(), value: value.into() }).collect();
    model.graph().initializer.push(w);
    model
}

#[test]
fn external_data_is_read_inside_the_folder_only() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    let data: Vec<u8> = [9f32, 1.5, 2.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(outer.path().join("secret.bin"), &data).unwrap();
    std::fs::write(folder.join("data.bin"), &data).unwrap();
    let attempt = |model: Builder| {
        let path = folder.join("model.onnx");
        std::fs::write(&path, model.bytes()).unwrap();
        read(&path)
    };
    let good = attempt(external("data.bin", &[("offset", "4"), ("length", "8")])).unwrap();
    let w = good.value(good.find_value("w").unwrap()).data.clone().unwrap();
    assert_eq!(w.to_f32(), [1.5, 2.5]);
    let absolute = outer.path().join("secret.bin");
    for location in ["../secret.bin", absolute.to_str().unwrap(), "x/../../secret.bin", "", "..\\secret.bin", "."] {
        assert!(attempt(external(location, &[("length", "8")])).is_err(), "{location}");
    }
    for entries in [
        &[("offset", "8"), ("length", "8")][..],
        &[("offset", "18446744073709551615"), ("length", "8")],
        &[("length", "-8")],
        &[("length", "4")],
    ] {
        assert!(attempt(external("data.bin", entries)).is_err(), "{entries:?}");
    }
    assert!(read_bytes(external("data.bin", &[("length", "8")]).bytes(), None).is_err());
}

#[cfg(unix)]
#[test]
fn external_data_does_not_follow_links_out_of_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outer.path().join("secret.bin"), [0; 8]).unwrap();
    std::os::unix::fs::symlink(outer.path().join("secret.bin"), folder.join("data.bin")).unwrap();
    let path = folder.join("model.onnx");
    std::fs::write(&path, external("data.bin", &[("length", "8")]).bytes()).unwrap();
    let error = read(&path).unwrap_err();
    assert!(error.to_string().contains("folder"), "{error}");
}

#[test]
fn convolutions_of_inputs_without_spatial_axes_are_refused() {
    for op in ["Conv", "ConvTranspose", "ConvInteger"] {
        let model = Builder::new(13).input("x", 1, &[]).node(op, &["x", "x"], &["y"], vec![]).output("y");
        let message = model.read().unwrap_err().to_string();
        assert!(message.contains("input of 0 dimensions"), "{op}: {message}");
    }
}

#[test]
fn slices_of_more_axes_than_there_are_take_no_memory() {
    let model = Builder::new(13)
        .input("x", 1, &[2, 3])
        .input("far", 7, &[1 << 40])
        .node("Slice", &["x", "far", "far"], &["y"], vec![])
        .output("y");
    let message = model.read().unwrap_err().to_string();
    assert!(message.contains("at most 2 starts"), "{message}");
}
