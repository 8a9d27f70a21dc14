"""Who calls, as the proxy in front says it: what Django calls web-server-provided authentication."""

from django.contrib.auth.backends import RemoteUserBackend
from rest_framework.authentication import RemoteUserAuthentication


class KnownUserBackend(RemoteUserBackend):
    create_unknown_user = False


class ProxyAuthentication(RemoteUserAuthentication):
    header = "HTTP_X_AUTH_SUBJECT"
