//! The background of the terminal.

/// What is known of the terminal's background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// Dark.
    Dark,
    /// Light.
    Light,
}

impl Background {
    /// What `COLORFGBG` says, where it is set: `15;0` is light on black.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Background> {
        let text = variable("COLORFGBG")?;
        let number: u8 = text.rsplit(';').next()?.parse().ok()?;
        Some(if number == 7 || number >= 9 { Background::Light } else { Background::Dark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_what_the_environment_says() {
        let of = |text: &str| Background::of(|_| Some(text.to_owned()));
        assert_eq!(of("15;0"), Some(Background::Dark));
        assert_eq!(of("0;default;15"), Some(Background::Light));
        assert_eq!(of("x"), None);
    }
}
