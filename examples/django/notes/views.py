from base64 import b32encode

from django.contrib.auth import authenticate, get_user_model
from django.core import signing
from django.db import IntegrityError, transaction
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework import generics, status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.permissions import IsAdminUser
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Note
from .serializers import CodeSerializer, CredentialsSerializer, NewUserSerializer, NoteSerializer, SecondFactorSerializer

User = get_user_model()
MFA_SALT = "notes.mfa"
MFA_SECONDS_MAX = 300
USERS_SHOWN_MAX = 100


class Unauthorized(APIException):
    status_code = status.HTTP_401_UNAUTHORIZED


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT


def valid(serializer_class, request):
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def public(user):
    return {"id": user.pk, "email": user.username, "role": "admin" if user.is_staff else "user"}


def second_factor_of(user):
    return TOTPDevice.objects.filter(user=user, confirmed=True).first()


class PublicView(APIView):
    authentication_classes = []
    permission_classes = []


class Register(PublicView):
    def post(self, request):
        new = valid(NewUserSerializer, request)
        try:
            with transaction.atomic():
                user = User.objects.create_user(new["email"], new["email"], new["password"])
        except IntegrityError:
            raise Conflict("Email already registered") from None
        return Response({"user": public(user)}, status.HTTP_201_CREATED)


class Login(PublicView):
    def post(self, request):
        given = valid(CredentialsSerializer, request)
        user = authenticate(request, username=given["email"], password=given["password"])
        if user is None:
            raise Unauthorized("Incorrect email or password")
        if second_factor_of(user):
            return Response({"mfaRequired": True, "mfaToken": signing.dumps(user.pk, salt=MFA_SALT)})
        return Response({"user": public(user)})


class LoginWithCode(PublicView):
    def post(self, request):
        given = valid(SecondFactorSerializer, request)
        try:
            user = User.objects.get(pk=signing.loads(given["mfaToken"], salt=MFA_SALT, max_age=MFA_SECONDS_MAX))
        except (signing.BadSignature, User.DoesNotExist):
            raise Unauthorized("Invalid or expired token") from None
        with transaction.atomic():
            device = second_factor_of(user)
            right = device is not None and device.verify_token(given["code"])
        if not right:
            raise Unauthorized("Incorrect code")
        return Response({"user": public(user)})


class Me(APIView):
    def get(self, request):
        return Response({"user": public(request.user)})


class BeginSecondFactor(APIView):
    def post(self, request):
        if second_factor_of(request.user):
            raise Conflict("There is a second factor already")
        TOTPDevice.objects.filter(user=request.user).delete()
        device = TOTPDevice.objects.create(user=request.user, name="authenticator", confirmed=False)
        secret = b32encode(device.bin_key).decode().rstrip("=")
        return Response({"secret": secret, "uri": device.config_url})


class ConfirmSecondFactor(APIView):
    def post(self, request):
        given = valid(CodeSerializer, request)
        with transaction.atomic():
            device = TOTPDevice.objects.filter(user=request.user, confirmed=False).first()
            right = device is not None and device.verify_token(given["code"])
            if right:
                device.confirmed = True
                device.save(update_fields=["confirmed"])
        if not right:
            raise ValidationError("Incorrect code")
        return Response({"user": public(request.user)})


class Notes(generics.ListCreateAPIView):
    serializer_class = NoteSerializer

    def get_queryset(self):
        return Note.objects.filter(user=self.request.user).order_by("id")

    def list(self, request, *args, **kwargs):
        return Response({"notes": self.get_serializer(self.get_queryset(), many=True).data})

    def perform_create(self, serializer):
        serializer.save(user=self.request.user)


class Users(APIView):
    permission_classes = [IsAdminUser]

    def get(self, request):
        return Response({"users": [public(user) for user in User.objects.order_by("pk")[:USERS_SHOWN_MAX]]})
