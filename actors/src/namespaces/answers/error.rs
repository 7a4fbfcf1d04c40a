//! An extension says that a request has failed (spec §5.9).

use framing::{ByteString, socket::Event};
use log::debug;

use super::{
    super::{Broker, Cx, payload},
    Ending,
};
use crate::{
    ids::RequestId,
    llm_router::{AttributeError, Failure, RouteId},
};

impl Broker {
    /// `ERROR` on `/llm`. One that names no request of this socket is the router's to attribute: another
    /// socket of the extension may have been asked.
    pub(in crate::namespaces) fn extension_error(&mut self, cx: &mut Cx<'_, '_>, event: &Event) {
        let object = payload::object(event);
        let [message, error, request_id] = object.fields(["message", "error", "requestId"]);
        let (Some(answers), Some((_, socket))) = (&self.answers, self.llm_socket()) else {
            return;
        };
        let Ok(request_id) =
            payload::text(request_id.as_ref()).filter(|id| !id.is_empty()).map(RequestId::new).transpose()
        else {
            debug!("error of an extension names no request that there can be; dropped");
            return;
        };
        let message =
            payload::text(message.as_ref()).unwrap_or(ByteString::from_static("An unknown error occurred."));
        let error = payload::present(error);
        answers.touch(cx.now(), self.directory.epoch);
        let own = request_id.as_ref().and_then(|id| answers.fan_out.route_of(id.as_str()));
        if let Some(route) = own {
            return self.request_errored(cx, route, message, error);
        }
        let key = answers.socket;
        let question = AttributeError { socket: key, target: socket.client.clone(), request_id };
        let router = self.directory.router.clone();
        let outcome = cx.session().ask(&router, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| {
                let answers = broker.answers.as_mut().filter(|answers| answers.socket == key);
                let route = answer.ok().flatten();
                match route.filter(|route| answers.is_some_and(|answers| answers.open(route.clone()))) {
                    Some(route) => broker.request_errored(cx, route.route, message, error),
                    None => debug!("error of an extension is about no request of its own; dropped"),
                }
            });
            Ok(())
        });
        if outcome.is_err() {
            debug!("error of an extension dropped: too many questions");
        }
    }

    fn request_errored(
        &mut self,
        cx: &mut Cx<'_, '_>,
        route: RouteId,
        message: ByteString,
        error: Option<framing::json::RawJson>,
    ) {
        if let Some(answers) = &mut self.answers
            && let Some(request_id) = answers.fan_out.request_id(route).cloned()
        {
            let failure = Failure { request_id, message, error };
            answers.endings.push(Ending::Errored { route, failure });
        }
        self.end_routes(cx);
    }
}
