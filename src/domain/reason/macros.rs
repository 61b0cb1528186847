//! The macros that make reasons. What they expand to is a matter of the files that use them.

/// Makes a [`Reason`] of the catalogue: `reason!("id", argument, other = expression)`.
macro_rules! reason {
    ($id:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        #[cfg(test)]
        #[linkme::distributed_slice($crate::domain::reason::tests::MADE)]
        static MADE: $crate::domain::reason::tests::Made =
            $crate::domain::reason::tests::Made { id: $id, arguments: &[$(stringify!($name)),*], file: file!() };
        $crate::domain::reason::Reason::new(
            $id,
            [$((
                stringify!($name),
                $crate::domain::reason::ToArgument::to_argument(
                    &$crate::domain::reason::value_of!($name $(= $value)?),
                ),
            )),*],
        )
    }};
}

/// The value of an argument of [`reason!`]: the expression, or the variable of its name.
macro_rules! value_of {
    ($name:ident) => {
        $name
    };
    ($name:ident = $value:expr) => {
        $value
    };
}

/// Makes types that implement [`AsReason`] reasons and arguments of reasons.
macro_rules! use_as_reason {
    ($($type:ty),+ $(,)?) => {
        $(
            impl From<&$type> for $crate::domain::reason::Reason {
                fn from(value: &$type) -> Self {
                    $crate::domain::reason::AsReason::reason(value)
                }
            }

            impl From<$type> for $crate::domain::reason::Reason {
                fn from(value: $type) -> Self {
                    $crate::domain::reason::AsReason::reason(&value)
                }
            }

            impl $crate::domain::reason::ToArgument for $type {
                fn to_argument(&self) -> $crate::domain::reason::Argument {
                    $crate::domain::reason::ToArgument::to_argument(&$crate::domain::reason::AsReason::reason(self))
                }
            }
        )+
    };
}

/// Implements `Display` (English) by [`AsReason`], and [`use_as_reason!`].
macro_rules! display_as_reason {
    ($($type:ty),+ $(,)?) => {
        $crate::domain::reason::use_as_reason!($($type),+);
        $(impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&$crate::domain::reason::AsReason::reason(self), f)
            }
        })+
    };
}

/// Makes a [`Phrase`]: a reason of the catalogue without arguments that is copied and compared like a word.
macro_rules! phrase {
    ($id:literal) => {{
        #[cfg(test)]
        #[linkme::distributed_slice($crate::domain::reason::tests::MADE)]
        static MADE: $crate::domain::reason::tests::Made =
            $crate::domain::reason::tests::Made { id: $id, arguments: &[], file: file!() };
        $crate::domain::reason::Phrase::new($id)
    }};
}

/// Implements [`ToArgument`] for types whose `Display` is a name, the same in every language.
macro_rules! argument_by_name {
    ($($type:ty),+ $(,)?) => {
        $(impl $crate::domain::reason::ToArgument for $type {
            fn to_argument(&self) -> $crate::domain::reason::Argument {
                $crate::domain::reason::Argument::Text(self.to_string())
            }
        })+
    };
}

pub(crate) use {argument_by_name, display_as_reason, phrase, reason, use_as_reason, value_of};
