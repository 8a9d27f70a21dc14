from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Makes a user an administrator."

    def add_arguments(self, parser):
        parser.add_argument("email")

    def handle(self, *args, email, **options):
        if not get_user_model().objects.filter(username=email.lower()).update(is_staff=True):
            raise CommandError(f"no user {email}")
