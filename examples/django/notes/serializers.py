from django.contrib.auth.password_validation import validate_password
from rest_framework import serializers

from .models import Note

# A bound, since hashing takes time and memory.
PASSWORD_LENGTH_MAX = 256


class LowerEmailField(serializers.EmailField):
    def to_internal_value(self, data):
        return super().to_internal_value(data).lower()


class CredentialsSerializer(serializers.Serializer):
    # As long as a user's name may be, which it is.
    email = LowerEmailField(max_length=150)
    password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False)


class NewUserSerializer(CredentialsSerializer):
    def validate_password(self, value):
        validate_password(value)
        return value


class CodeSerializer(serializers.Serializer):
    code = serializers.CharField(max_length=16)


class SecondFactorSerializer(CodeSerializer):
    mfaToken = serializers.CharField(max_length=1000)


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text"]
