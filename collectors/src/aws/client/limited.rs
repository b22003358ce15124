//! A body of which no more than a limit is read.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextMut},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

/// Puts the limit on every answer's body.
#[derive(Debug)]
pub(super) struct Limit(pub usize);

/// An answer was longer than the limit, in bytes.
#[derive(Debug)]
pub(super) struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} bytes", self.0)
    }
}

impl std::error::Error for TooLong {}

impl Intercept for Limit {
    fn name(&self) -> &'static str {
        "Limit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.response_mut().body_mut(), SdkBody::taken());
        let limited = Limited { body, limit: self.0, read: 0 };
        *context.response_mut().body_mut() = SdkBody::from_body_1_x(limited);
        Ok(())
    }
}

struct Limited {
    body: SdkBody,
    limit: usize,
    read: usize,
}

impl Body for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.read += frame.data_ref().map_or(0, |data| data.remaining());
        }
        Poll::Ready(match frame {
            Some(Ok(_)) if self.read > self.limit => Some(Err(TooLong(self.limit).into())),
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}
