//! Files of data, and texts.

/// A `.npy` file of version 1 whose bytes count up.
pub(crate) fn npy(descr: &str, fortran: bool, shape: &str, elements: usize) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let width = usize::from(descr.as_bytes()[2] - b'0');
    let len = u16::try_from(header.len()).expect("the header is short");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend((0..elements * width).map(|i| u8::from(i % width == 0)));
    bytes
}

/// A ZIP archive (PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16) of uncompressed members.
pub(crate) fn stored_zip(members: &[(String, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let offset = u32::try_from(file.len()).expect("the archive is small");
        let size = u32::try_from(bytes.len()).expect("the member is small");
        let name_len = u16::try_from(name.len()).expect("the name is short");
        // Version 2.0, no flags, method 0, no time, checksum, both sizes, lengths of name and extra.
        let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        shared.extend_from_slice(&crc32(bytes).to_le_bytes());
        shared.extend_from_slice(&size.to_le_bytes());
        shared.extend_from_slice(&size.to_le_bytes());
        shared.extend_from_slice(&name_len.to_le_bytes());
        shared.extend_from_slice(&[0, 0]);
        file.extend_from_slice(b"PK\x03\x04");
        file.extend_from_slice(&shared);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(bytes);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&shared);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let count = u16::try_from(members.len()).expect("few members").to_le_bytes();
    let start = u32::try_from(file.len()).expect("the archive is small").to_le_bytes();
    let size = u32::try_from(directory.len()).expect("the directory is small").to_le_bytes();
    file.extend_from_slice(&directory);
    file.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    file.extend_from_slice(&count);
    file.extend_from_slice(&count);
    file.extend_from_slice(&size);
    file.extend_from_slice(&start);
    file.extend_from_slice(&[0, 0]);
    file
}

/// The checksum of ZIP, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &b| (0..8).fold(crc ^ u32::from(b), |crc, _| step(crc)))
}

/// Recipes, descriptions of data, and lists of labels.
pub(crate) fn texts() -> Vec<(String, String)> {
    let texts = [
        (
            "recipe-int8",
            "mode = 'int8'\ncalibration = 'minmax'\nweight-scales = 'mse'\nper-tensor = true\nio = 'uint8'\nexclude = ['conv', 'a\\nb']\n",
        ),
        ("recipe-moving", "mode = 'int8'\ncalibration = 'moving-average'\nweight-scales = 'max'\n"),
        ("recipe-dynamic", "mode = \"dynamic\"\nexclude = []\n"),
        ("recipe-float16", "mode = 'float16'\nio = 'int8'\n"),
        ("data-npy", "npy = 'x.npy'\nlabel_offset = -1\non_bad_image = 'skip'\n"),
        ("data-labels", "npy = 'x.npy'\nlabels = 'x.npy'\nlabel_offset = 9223372036854775807\n"),
        (
            "data-images",
            "images = '.'\nlabels = 'l.csv'\non_bad_image = 'error'\n[preprocess]\nresize = 256\ncrop = [224, 200]\n\
             size = [224, 200]\ninterpolation = 'bicubic'\ncolor = 'bgr'\nscale = 0.5\nmean = [1, 2.5, 3]\nstd = 2\nlayout = 'nchw'\n",
        ),
        (
            "data-preprocess",
            "npy = 'x.npy'\n[preprocess]\ncrop_fraction = 0.875\nsize = 4\ninterpolation = 'area'\ncolor = 'gray'\nlayout = 'nhwc'\nmean = 1e38\nstd = 1e-45\n",
        ),
        ("labels-csv", "file,class\na.png,1\n\"b,c.png\",2\n"),
        ("labels-numbers", "1\n2\n"),
        ("labels-txt", "a.png 0\nfolder b.png 281474976710656\n"),
    ];
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}
