//! Every key of the configuration, in the order of the example.

/// What stands before every environment variable.
pub(crate) const PREFIX: &str = "ADAFED_";

/// Variables that belong to commands other than `serve` or to other programs; an ending `*`
/// stands for anything.
pub(crate) const OTHER_VARIABLES: &[&str] = &[
    "ADAFED_CONFIG",
    "ADAFED_SERVER",
    "ADAFED_TOKEN",
    "ADAFED_DATA",
    "ADAFED_VECTORS",
    "ADAFED_TEST_*",
    "ADAFED_OTLP_*",
];

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Section and name, with a dot between.
    pub(crate) name: &'static str,
    /// What it sets, in one sentence.
    pub(crate) about: &'static str,
    /// A value, as TOML, to show where there is no default.
    pub(crate) example: &'static str,
}

const fn key(name: &'static str, example: &'static str, about: &'static str) -> Key {
    Key { name, about, example }
}

/// The keys.
pub(crate) const KEYS: &[Key] = &[
    key("listen", "\"0.0.0.0:8080\"", "Address to listen on; port 0 takes a free one."),
    key(
        "database",
        "\"postgres://adafed:password@localhost/adafed\"",
        "Path of an SQLite file, made if missing, or postgres://USER:PASSWORD@HOST/NAME.",
    ),
    key(
        "admin_token",
        "\"a long random text\"",
        "Operators' token, at least 16 characters. Better in the environment or a file.",
    ),
    key(
        "admin_token_file",
        "\"/run/secrets/adafed\"",
        "File that holds the operators' token, in place of admin_token.",
    ),
    key("open_reading", "true", "Whether anybody may read reports, models and the dashboard."),
    key(
        "max_database_mib",
        "10240",
        "Largest size of the SQLite file, in MiB; the disk is the limit without.",
    ),
    key("tick_ms", "500", "How often rounds are looked through for deadlines, in milliseconds."),
    key(
        "limits.max_body_bytes",
        "16777216",
        "Largest body of an update or of a task creation, in bytes.",
    ),
    key(
        "limits.device_requests_per_minute",
        "60",
        "Requests that one device may send in a minute; 0 is no limit.",
    ),
    key(
        "limits.address_requests_per_minute",
        "120",
        "Requests that one address may send in a minute without being known; 0 is no limit.",
    ),
    key("limits.concurrent_uploads", "16", "Updates that are received at the same time."),
    key(
        "limits.signature_window_ms",
        "60000",
        "Largest distance between signing and arrival of a request, in milliseconds.",
    ),
    key(
        "tls.certificates",
        "\"/etc/adafed/server.pem\"",
        "The server's certificate and those that lead to its authority, PEM.",
    ),
    key("tls.key", "\"/etc/adafed/server.key\"", "Private key of the certificate, PEM."),
    key(
        "tls.client_authorities",
        "\"/etc/adafed/clients.pem\"",
        "Authorities one of which must have signed a client's certificate, PEM.",
    ),
    key(
        "log.filter",
        "\"adafed_server=debug\"",
        "What to log, such as info or adafed_server=debug.",
    ),
    key("log.format", "\"json\"", "How a line of the log is written: text or json."),
];

impl Key {
    /// The key of that name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Section and last part of the name; no section is an empty one.
    pub(crate) fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// Name of the environment variable.
    pub(crate) fn variable(&self) -> String {
        PREFIX.to_owned() + &self.name.to_ascii_uppercase().replace('.', "__")
    }
}

/// Whether there is a section of that name.
pub(crate) fn is_section(name: &str) -> bool {
    !name.is_empty() && KEYS.iter().any(|key| key.parts().0 == name)
}

/// The known key that looks most like `unknown`, with or without its section.
pub(crate) fn nearest(unknown: &str) -> &'static Key {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &&Key| {
        if key.parts().0 == unknown {
            return 0;
        }
        let elsewhere = distance(&last(unknown), &last(key.name)) + 1;
        elsewhere.min(distance(unknown, key.name))
    };
    KEYS.iter().min_by_key(distance).unwrap_or(&KEYS[0])
}

/// Least number of letters to insert, delete or replace to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *against);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (one, other, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("listen", "lisen", 1)]
        {
            assert_eq!([distance(one, other), distance(other, one)], [expected; 2], "{one}");
        }
    }

    #[test]
    fn a_slip_or_a_wrong_section_leads_to_the_key_that_was_meant() {
        for (unknown, meant) in [
            ("lisen", "listen"),
            ("max_body_bytes", "limits.max_body_bytes"),
            ("limits.max_bodybytes", "limits.max_body_bytes"),
            ("limits.tick_ms", "tick_ms"),
            ("logs.filter", "log.filter"),
            ("log", "log.filter"),
        ] {
            assert_eq!(nearest(unknown).name, meant, "{unknown}");
        }
    }
}
