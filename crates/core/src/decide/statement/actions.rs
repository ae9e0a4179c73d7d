//! What a policy's scope says of actions.

use cedar_policy::pst::ActionConstraint;

use crate::call::Action;
use crate::person::Operation;

/// Actions of the gateway and of people, one bit each, and the kernel's together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    pub(super) gateway: u8,
    pub(crate) kernel: bool,
    people: u16,
    /// Which namespaces may bear which names.
    pub(crate) register: bool,
    /// Who may register which objects.
    pub(crate) register_object: bool,
}

impl Actions {
    pub(in crate::decide) fn of(constraint: &ActionConstraint) -> Self {
        let mut actions = Self::default();
        match constraint {
            // Not what people do: that is named.
            ActionConstraint::Any => actions = Self { gateway: u8::MAX, kernel: true, ..Self::default() },
            ActionConstraint::Eq(one) => actions.add(&one.eid),
            ActionConstraint::In(several) => several.iter().for_each(|one| actions.add(&one.eid)),
        }
        actions
    }

    fn add(&mut self, name: &str) {
        for action in Action::ALL {
            if action.as_str() == name || group(action) == Some(name) {
                self.gateway |= bit(action);
            }
        }
        for operation in Operation::ALL {
            if operation.as_str() == name || operation.group() == Some(name) {
                self.people |= 1 << operation as u16;
            }
        }
        self.register |= name == "register";
        self.register_object |= name == "registerObject";
        self.kernel |=
            matches!(name, "kernel" | "readFile" | "writeFile" | "exec" | "loadLibrary" | "connectNetwork");
    }

    /// Whether it is about this one, and nothing else.
    pub(crate) fn are_only(self, action: Action) -> bool {
        self == Self { gateway: bit(action), ..Self::default() }
    }

    /// Whether it is about some of these, and nothing else.
    pub(in crate::decide) fn are_among(self, some: &[Action]) -> bool {
        let others = some.iter().fold(self.gateway, |left, action| left & !bit(*action));
        others == 0 && self.gateway != 0 && self == Self { gateway: self.gateway, ..Self::default() }
    }

    pub(crate) fn contain(self, action: Action) -> bool {
        self.gateway & bit(action) != 0
    }

    /// Whether it is about what people do, or about this one thing.
    pub(crate) fn of_people(self, operation: Option<Operation>) -> bool {
        match operation {
            Some(operation) => self.people & (1 << operation as u16) != 0,
            None => self.people != 0,
        }
    }

    /// Whether it is about what is registered: names, or objects.
    pub(super) fn of_registration(self) -> bool {
        self.register || self.register_object
    }

    /// Whether it is about names, or about objects, and nothing else.
    pub(super) fn are_only_of_registration(self) -> bool {
        let names = Self { register: true, ..Self::default() };
        let objects = Self { register_object: true, ..Self::default() };
        self == names || self == objects
    }

    /// Whether it is about any calls.
    pub(in crate::decide) fn are_of_calls(self) -> bool {
        self.gateway != 0
    }

    /// Whether it is about something whose resource is of a namespace, as are those of calls and of what people do.
    pub(super) fn any_on_resources(self) -> bool {
        self.gateway != 0 || self.people != 0
    }
}

const fn bit(action: Action) -> u8 {
    1 << action as u8
}

/// The action group that `action` is in.
const fn group(action: Action) -> Option<&'static str> {
    match action {
        Action::InvokeTool | Action::ReadResource | Action::GetPrompt | Action::ConnectServer => Some("mcp"),
        Action::CallAgent => Some("a2a"),
        Action::CallModel => Some("llm"),
        Action::ListModels => None,
    }
}
